"""Checks of a runtime's model, and of its input, against the contract."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.contract.embedded_contract import differences
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec, Quantization

_REBUILD = "The model file and its contract do not belong together: build the bundle again."
_SCALE_TOLERANCE = 1e-5
"""Relative tolerance: the runtime keeps scales as float32."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor as a runtime describes it.

    Attributes:
        name: name in the graph.
        shape: (1, C, H, W), or as many axes as the runtime reports.
        dtype: numpy name of the raw values, `int8`, `float16`, ...
        quantization: None for floating point.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None


def require_image(image: NDArray[np.uint8], spec: InputSpec) -> None:
    """Check that the image is what the contract says, contiguous (1, H, W, 3) uint8.

    Raises:
        BackendError: when it is not.
    """
    shape = (1, spec.height, spec.width, 3)
    if image.shape != shape or image.dtype != np.uint8 or not image.flags.c_contiguous:
        order = "" if image.flags.c_contiguous else ", not contiguous"
        raise BackendError(
            f"The image is {image.shape} {image.dtype}{order}, expected contiguous {shape} uint8 "
            "(batch, height, width, channels)."
        )


def require_contract(inputs: Sequence[TensorFacts], outputs: Sequence[TensorFacts], spec: ModelSpec) -> None:
    """Check that the model's tensors are those of the contract, in its order.

    Args:
        inputs: inputs of the model, in runtime order.
        outputs: outputs of the model, in runtime order.
        spec: the contract.

    Raises:
        BackendError: when they are not.
    """
    image = spec.input
    expected_input = f'one input "{image.name}" (1, 3, {image.height}, {image.width})'
    if [(t.name, t.shape) for t in inputs] != [(image.name, (1, 3, image.height, image.width))]:
        raise BackendError(f"The model has {_listed(inputs) or 'no input'}, expected {expected_input}.", _REBUILD)
    names, expected = [tensor.name for tensor in outputs], [output.name for output in spec.outputs]
    if names != expected:
        raise BackendError(
            f"The model has the outputs {', '.join(names) or 'none'}, expected {', '.join(expected)}, in this order.",
            _REBUILD,
        )
    for tensor, output in zip(outputs, spec.outputs, strict=True):
        _require_output(tensor, output)


def require_custom_string(text: str, spec: ModelSpec) -> None:
    """Check that the text that the build left in the model belongs to this contract.

    Args:
        text: as the runtime gives it; empty or foreign text proves nothing and is accepted.
        spec: the contract.

    Raises:
        BackendError: when it belongs to another contract.
    """
    found = differences(text, spec)
    if found:
        raise BackendError(f"The model was built with another contract: {'; '.join(found)}.", _REBUILD)


def _require_output(tensor: TensorFacts, output: HeadOutput) -> None:
    if tensor.shape != output.shape:
        raise BackendError(
            f'Output "{output.name}" has shape {tensor.shape} in the model, expected {output.shape} '
            f"for {output.role} at stride {output.stride}.",
            _REBUILD,
        )
    stated = output.quantization
    got = tensor.quantization
    if stated is None:
        fits = got is None and tensor.dtype in ("float16", "float32")
    else:
        fits = (
            got is not None
            and tensor.dtype == stated.dtype
            and got.zero_point == stated.zero_point
            and math.isclose(got.scale, stated.scale, rel_tol=_SCALE_TOLERANCE)
        )
    if not fits:
        expected = "float16 or float32" if stated is None else _quantized(stated.dtype, stated)
        raise BackendError(
            f'Output "{output.name}" is {_quantized(tensor.dtype, got)} in the model, expected {expected}.', _REBUILD
        )


def _quantized(dtype: str, quantization: Quantization | None) -> str:
    if quantization is None:
        return dtype
    return f"{dtype} with scale {quantization.scale:.9g} and zero point {quantization.zero_point}"


def _listed(tensors: Sequence[TensorFacts]) -> str:
    return ", ".join(f'the input "{tensor.name}" {tensor.shape}' for tensor in tensors)
