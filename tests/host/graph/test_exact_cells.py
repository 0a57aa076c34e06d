"""Cells and strides that a quantizer rounded are made exact, other constants are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.host.graph.exact_cells import with_exact_cells
from tests.host.graph.small_graphs import model_of

HW = (64, 96)
LEVELS = ((8, 12, 8), (4, 6, 16), (2, 3, 32))  # height and width in cells, stride
CELLS = [(x + 0.5, y + 0.5) for h, w, _ in LEVELS for y in range(h) for x in range(w)]
STRIDES = np.concatenate([np.full(h * w, stride, np.float32) for h, w, stride in LEVELS])
GRID = np.array(CELLS, np.float32).T[None]


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest of 255 steps up to a largest value that is none of the tensor's."""
    step = np.float32(values.max() * 1.002 / 255)
    steps: NDArray[np.float32] = np.round(values / step).astype(np.float32) * step
    return steps


@pytest.mark.parametrize(
    ("exact", "px"), [(GRID, STRIDES), (GRID * STRIDES, 1.0), (STRIDES[None], 1.0)], ids=["cells", "pixels", "strides"]
)
def test_rounded_constants_become_exact(exact: NDArray[np.float32], px: float | NDArray[np.float32]) -> None:
    """The difference is reported in pixels; exact ones are left as they are."""
    values = rounded(exact)
    node = helper.make_node("Mul", ["images", "c"], ["y"])
    model = model_of([node], constants=[numpy_helper.from_array(values, "c")])
    changed, error = with_exact_cells(model, HW)
    assert np.array_equal(numpy_helper.to_array(changed.graph.initializer[0]), exact)
    assert error == pytest.approx(float((np.abs(values - exact) * px).max()))
    assert error > 0
    assert with_exact_cells(changed, HW) == (changed, 0.0)


def test_other_constants_stay() -> None:
    """Those of another input's cells, or that differ by more than a step."""
    node = helper.make_node("Mul", ["images", "c"], ["y"])
    off = GRID.copy()
    off[0, 0, 0] += 1.0
    for values, hw in ((off, HW), (rounded(GRID), (64, 64)), (GRID[..., ::-1].copy(), HW)):
        model = model_of([node], constants=[numpy_helper.from_array(values, "c")])
        changed, error = with_exact_cells(model, hw)
        assert changed is model
        assert error == 0
