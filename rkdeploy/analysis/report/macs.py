"""Multiply-accumulates of a compiled layer, from its shapes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.contract.compiled_model import CompiledLayer, Shape

_MOST = 10**18  # more is a damaged file


def layer_macs(layer: CompiledLayer) -> int | None:
    """Multiply-accumulates of one frame; 0 for a layer that multiplies nothing, None where its shapes do not
    say.

    A convolution multiplies each output value with its weights: prod(output) * (input channels / groups) * kh * kw.
    A transposed one multiplies each input value with those: prod(input) * (output channels / groups) * kh * kw.  A
    product of matrices (batch, k, 1, m) and (batch, k, 1, n) is batch * k * m * n; attention is two of them.

    Args:
        layer: as the compiler prints it; weights stand among its inputs.
    """
    found = _macs(layer)
    return found if found is None or found <= _MOST else None


def _macs(layer: CompiledLayer) -> int | None:
    shapes: list[Shape] = [shape for shape in layer.input_shapes if len(shape) == 4]
    if "Transpose" in layer.op and layer.op.startswith("Conv"):
        return _convolution(shapes, shapes[0]) if len(shapes) > 1 else None
    if layer.op.startswith("Conv") and layer.op != "Concat":
        return _convolution(shapes, layer.output_shape) if len(shapes) > 1 and layer.output_shape else None
    if "SDPAttention" in layer.op:
        return _attention(shapes, layer.output_shape)
    if "MatMul" in layer.op:
        return _product(shapes)
    return 0


def _convolution(shapes: list[Shape], values: Shape) -> int:
    """`values` times the weights of each; a depthwise convolution has weights (1, channels, kh, kw)."""
    weights = shapes[1]
    _, channels, kernel_h, kernel_w = weights
    depthwise = weights[0] == 1 and channels > 1 and len(values) == 4 and values[1] == channels
    return prod(values) * (1 if depthwise else channels) * kernel_h * kernel_w


def _product(shapes: list[Shape]) -> int | None:
    if len(shapes) < 2:
        return None
    (batch, k, _, m), (_, other_k, _, n) = shapes[:2]
    if k == other_k:
        return batch * k * m * n
    return batch * k * m * other_k if m == n else None


def _attention(shapes: list[Shape], output: Shape) -> int | None:
    """Queries with keys, then the weights with the values: (batch, k, 1, n) twice and (batch, v, 1, n) out."""
    if len(shapes) < 2 or len(output) != 4:
        return None
    batch, k, _, queries = shapes[0]
    keys = shapes[1][3]
    return batch * queries * keys * (k + output[1])
