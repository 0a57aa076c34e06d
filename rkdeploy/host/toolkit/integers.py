"""Integers behind the real values that the simulator gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rkdeploy.contract.spec import Quantization
from rkdeploy.errors import ToolkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRID_STEPS = 1e-3  # largest distance of a simulated value from the grid, in addition to its rounding to float32
_FLOAT32_EPS = float(np.finfo(np.float32).eps)


def integers_from_real(values: NDArray[np.float32], quantization: Quantization) -> NDArray[Any]:
    """The exact integers behind simulated real values, which are (integer - zero_point) * scale to float precision.

    A real value is rounded to float32, and so may be the scale: 2 eps of its size, which for int16 is more than the
    thousandth of a step that is allowed in addition.

    Raises:
        ToolkitError: when the values do not lie on that grid, within that tolerance.
    """
    steps = values.astype(np.float64) / float(np.float32(quantization.scale))
    integers = np.rint(steps)
    distances = np.abs(steps - integers)
    on_grid = bool(np.all(distances <= _GRID_STEPS + 2 * _FLOAT32_EPS * np.abs(steps)))  # False for NaN
    off = float(distances.max(initial=0.0))
    integers += quantization.zero_point
    bounds = np.iinfo(quantization.dtype)
    if not on_grid or integers.min(initial=0) < bounds.min or integers.max(initial=0) > bounds.max:
        raise ToolkitError(
            f"Simulated values lie {off:.3g} steps off the grid of scale {quantization.scale} and zero point "
            f"{quantization.zero_point}, from {integers.min(initial=0)} to {integers.max(initial=0)}, "
            f"expected {quantization.dtype} values within {_GRID_STEPS} steps and float32 precision."
        )
    exact: NDArray[Any] = integers.astype(quantization.dtype)
    return exact
