"""Work of each layer on the NPU, from the compiler's tables: the terms of the latency model.

The compiler predicts cycles of convolutions only, and never the cost of an activation.  So the terms are computed from
what it prints for every layer: the cycles, the bytes read, and the output's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel, Shape

_BYTES: Final = {"INT8": 1, "UINT8": 1, "FLOAT16": 2, "INT16": 2, "INT32": 4, "FLOAT": 4, "INT64": 8}
_ATOM_BYTES: Final = 16
"""Channels are stored in groups of 16 bytes (the log's `NativeShape`: N, C1, H, W, C2)."""
_TABLE_ACTIVATIONS: Final = ("Swish", "Sigmoid")
_ATTENTION: Final = "SDPAttention"
_SOFTMAX: Final = "Softmax"


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One layer's work.

    Attributes:
        number, op, name: of the layer.
        kind: op and where it runs, `ConvExSwish NPU`: what a fit has seen or not.
        compute_mcycles: millions of cycles that the compiler predicts for computing.
        traffic_mb: millions of bytes that it reads and writes.
        activation_melements: millions of values that go through a table activation (Swish, Sigmoid), whole groups of
            channels of the chip's width.
        softmax_melements: millions of values that go through a softmax, whose cost follows neither cycles nor
            bandwidth: its output, or the scores of every token with every other within a fused attention; 0 for all
            other layers.
    """

    number: int
    op: str
    name: str
    kind: str
    compute_mcycles: float
    traffic_mb: float
    activation_melements: float
    softmax_melements: float


def works_of(model: CompiledModel, lanes: int) -> tuple[LayerWork, ...]:
    """The work of all layers but the model's ends.

    Args:
        model: as compiled for the chip.
        lanes: channels that the chip's output stage takes at once: 32 on rk3588 and rk3576, 16 on rk3566, rk3568 and
            rk3562.  The compiler's memory plan shows it: a 16-channel INT8 output gets room for 32 or for 16.
    """
    return tuple(_work(layer, lanes) for layer in model.layers if not layer.is_end)


def _work(layer: CompiledLayer, lanes: int) -> LayerWork:
    value_bytes = _BYTES.get(layer.dtype, 1)
    read = layer.read_kib * 1024
    # a Split prints the first of its outputs only; together they are its input
    written = read if layer.op == "Split" else _padded(layer.output_shape, _ATOM_BYTES // value_bytes) * value_bytes
    if layer.op == "Gather":  # of its table, it reads what it writes
        read = min(read, written)
    through_table = any(part in layer.op for part in _TABLE_ACTIVATIONS)
    return LayerWork(
        number=layer.number,
        op=layer.op,
        name=layer.name,
        kind=f"{layer.op} {layer.target}",
        compute_mcycles=layer.npu_cycles / 1e6,
        traffic_mb=(read + written) / 1e6,
        activation_melements=_padded(layer.output_shape, lanes) / 1e6 if through_table else 0.0,
        softmax_melements=_softmax_values(layer) / 1e6,
    )


def _softmax_values(layer: CompiledLayer) -> int:
    """Values through a softmax; a fused attention's queries, keys and output are (heads, channels, 1, tokens)."""
    shape = layer.output_shape
    if _ATTENTION in layer.op and len(shape) == 4:
        keys = layer.input_shapes[1] if len(layer.input_shapes) > 1 else shape
        return shape[0] * shape[3] * (keys[3] if len(keys) == 4 else shape[3])
    return prod(shape) if shape and (_ATTENTION in layer.op or _SOFTMAX in layer.op) else 0


def _padded(shape: Shape, group: int) -> int:
    """Values of a tensor whose channels are filled up to whole groups; others than (N, C, H, W) as they are."""
    if len(shape) != 4:
        return prod(shape) if shape else 0
    batch, channels, height, width = shape
    return batch * -(-channels // max(group, 1)) * max(group, 1) * height * width
