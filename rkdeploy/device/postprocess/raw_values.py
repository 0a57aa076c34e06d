"""Head tensors in their own domain: checked against the contract, compared with thresholds, dequantized in parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation, HeadOutput, ModelSpec
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError

_DTYPES: Final = frozenset(np.dtype(name) for name in ("int8", "uint8", "int16", "float16", "float32"))


def require_tensors(outputs: Sequence[HeadOutput], tensors: Sequence[HeadTensor]) -> None:
    """Check that the tensors are those of the contract, in its order.

    Args:
        outputs: all outputs of the contract.
        tensors: returned by the runtime.

    Raises:
        BackendError: when they are not.
    """
    if len(tensors) != len(outputs):
        raise BackendError(f"The runtime returned {len(tensors)} outputs, expected {len(outputs)}.")
    for output, tensor in zip(outputs, tensors, strict=True):
        values = tensor.values
        if tensor.shape != output.shape:
            raise BackendError(
                f'Output "{output.name}" has shape {tensor.shape}, expected {output.shape} '
                f"for {output.role} at stride {output.stride}.",
                "The model file and its contract do not belong together: build the bundle again.",
            )
        if values.dtype not in _DTYPES:
            known = ", ".join(sorted(dtype.name for dtype in _DTYPES))
            raise BackendError(f'Output "{output.name}" has dtype {values.dtype}, expected one of {known}.')
        if tensor.packed_channels is not None and values.shape[1] * values.shape[4] < tensor.packed_channels:
            raise BackendError(
                f'Output "{output.name}" has {values.shape[1]} blocks of {values.shape[4]} channels, '
                f"expected {tensor.packed_channels} channels."
            )
        if not (tensor.scale > 0.0 and math.isfinite(tensor.scale)):
            raise BackendError(f'Output "{output.name}" has scale {tensor.scale}, expected a positive number.')


def layout_key(tensors: Sequence[HeadTensor]) -> tuple[Any, ...]:
    """Everything about the tensors but their values, which a runtime returns unchanged from frame to frame.

    While it stays the same, tensors that `require_tensors` accepted once need no further check.
    """
    return tuple(
        (values.shape, values.strides, values.dtype, tensor.scale, tensor.zero_point, tensor.packed_channels)
        for tensor in tensors
        for values in (tensor.values,)
    )


def raw_limit(tensor: HeadTensor, activation: Activation, threshold: np.float32) -> Any | None:
    """Smallest raw value whose probability may exceed `threshold`, as the tensor's dtype; None when no value can.

    Every value that exceeds the threshold in float32 arithmetic is at or above the limit.  float32 rounds the
    probability by a few units in 1e-7, and the real value too: the limit is lowered by ten times that.

    Args:
        tensor: the tensor to search.
        activation: `linear` for logits of a sigmoid; otherwise the values are the probabilities.
        threshold: probability.
    """
    lowest = float(threshold) * (1.0 - 1e-6)
    if activation != "linear":
        real = lowest
    elif lowest >= 1.0:
        return None
    else:
        # Below that the sigmoid itself cuts off: all values are left to the exact rule.
        real = math.log(lowest) - math.log1p(-lowest) if lowest > 1e-34 else -math.inf
    raw = real / tensor.scale
    raw += tensor.zero_point - abs(raw) * 1e-6 if math.isfinite(raw) else 0.0
    dtype = tensor.values.dtype
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        if abs(raw) > largest:
            return None if raw > 0 else dtype.type(-np.inf)
        return np.nextafter(dtype.type(raw), dtype.type(-np.inf))
    info = np.iinfo(dtype)
    if raw > info.max:
        return None
    return dtype.type(info.min if raw <= info.min else math.ceil(raw))


def dequantize(tensor: HeadTensor, raw: NDArray[Any], real: NDArray[np.float32]) -> None:
    """Write raw values of one tensor, dequantized, into `real`, with the arithmetic of `HeadTensor.dequantized`."""
    np.subtract(raw, np.float32(tensor.zero_point), out=real, dtype=np.float32)
    if tensor.scale != 1.0:
        np.multiply(real, np.float32(tensor.scale), out=real)


def sigmoid_in_place(real: NDArray[np.float32]) -> None:
    """1 / (1 + exp(-x)), in place.  Below -80 the result is 0: exp would overflow."""
    np.maximum(real, np.float32(-80.0), out=real)
    np.negative(real, out=real)
    np.exp(real, out=real)
    np.add(real, np.float32(1.0), out=real)
    np.reciprocal(real, out=real)


def outputs_with(outputs: Sequence[HeadOutput], roles: Iterable[str]) -> list[tuple[int, HeadOutput]]:
    """Outputs of the given roles, each with its index in the contract."""
    wanted = frozenset(roles)
    return [(index, output) for index, output in enumerate(outputs) if output.role in wanted]


def coefficient_count(spec: ModelSpec) -> int:
    """Mask coefficients per object: as many as there are prototypes; 0 without prototypes."""
    prototypes = outputs_with(spec.outputs, ("prototypes",))
    return prototypes[0][1].shape[1] if prototypes else 0


def require_image_sized(output: HeadOutput, spec: ModelSpec) -> None:
    """Check that the output's planes cover the network's input.

    Raises:
        RkdeployError: when they do not.
    """
    covered = (output.shape[2] * output.stride, output.shape[3] * output.stride)
    if covered != (spec.input.height, spec.input.width):
        raise RkdeployError(
            f'Output "{output.name}" has shape {output.shape} in the contract and stride {output.stride}, which '
            f"covers {covered[1]}x{covered[0]}, expected {spec.input.width}x{spec.input.height} for {output.role}."
        )


def require_map_sized(output: HeadOutput, spec: ModelSpec) -> None:
    """Check that a map's stride is the rounded ratio of the input's sides to its own.

    A map need not divide the input: 513 pixels make 65 cells of DeepLab.

    Raises:
        RkdeployError: when it is not.
    """
    sides = zip((spec.input.height, spec.input.width), output.shape[2:], strict=True)
    if any(max(1, round(pixels / cells)) != output.stride for pixels, cells in sides):
        raise RkdeployError(
            f'Output "{output.name}" has shape {output.shape} in the contract and stride {output.stride}, which does '
            f"not fit the input of {spec.input.width}x{spec.input.height} (width x height)."
        )
