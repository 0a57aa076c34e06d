"""The toolkit's compiled model as plain data, from its log: kept in `build.json`.

All of it is the compiler's own prediction or plan; nothing here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, Final

from msgspec import Meta

from rkdeploy.contract.bounds import Text

MAX_LAYERS: Final = 20_000
_MAX_VALUES: Final = 10**12
"""Cycles, KiB or values of one layer."""

Shape = tuple[Annotated[int, Meta(ge=0, le=_MAX_VALUES)], ...]
Cycles = Annotated[int, Meta(ge=0, le=_MAX_VALUES)]
Kib = Annotated[float, Meta(ge=0, le=_MAX_VALUES)]
BlockKib = Annotated[float, Meta(ge=0, le=1 << 30)]
Number = Annotated[int, Meta(ge=0, lt=MAX_LAYERS)]
Address = Annotated[int, Meta(ge=0, le=1 << 40)]


@dataclass(frozen=True, slots=True)
class CompiledLayer:
    """One layer after the compiler's fusions.

    Attributes:
        number: its place in the order of execution, from 0.
        op: fused operator, `ConvExSwish`; `InputOperator` and `OutputOperator` are the model's ends.
        name: node in the graph; may be empty, or a name of the compiler's own.
        dtype: `INT8`, `FLOAT16`.
        target: where it runs: `NPU` or `CPU`.
        input_shapes: of its inputs, weights and biases among them, as far as the compiler prints them.
        output_shape: (N, C, H, W) of its first output; empty for an `OutputOperator`.
        ddr_cycles, npu_cycles, total_cycles: predicted cycles for moving its data, for computing, and for both side by
            side.  The compiler predicts convolutions only; other operators have 0.
        read_kib: what it reads a frame, weights included (the log's column `RW(KB)`, whole KiB).
    """

    number: Number
    op: Text
    name: Text
    dtype: Text
    target: Text
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    ddr_cycles: Cycles
    npu_cycles: Cycles
    total_cycles: Cycles
    read_kib: Kib

    def __post_init__(self) -> None:
        """Refuse more values than memory holds.

        Raises:
            ValueError: a shape has so many.
        """
        if max(prod(shape) for shape in (self.output_shape, *self.input_shapes)) > _MAX_VALUES:
            raise ValueError(f"a shape has more than {_MAX_VALUES:,} values")

    @property
    def is_end(self) -> bool:
        """True for the rows of the network's input and output, which are not layers."""
        return self.op in {"InputOperator", "OutputOperator"}


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor's place in one of the model's two memory blocks.

    Attributes:
        layer: number of the layer that reads it.
        name: in the graph.
        dtype: `INT8`, `INT32`, `FLOAT16`, ...
        shape: logical shape, empty for a scalar.
        start, end: bytes from the block's beginning; `end` is one behind.
    """

    layer: Number
    name: Text
    dtype: Text
    shape: Shape
    start: Address
    end: Address

    def __post_init__(self) -> None:
        """Refuse a place that ends before it begins.

        Raises:
            ValueError: the last place is before the first.
        """
        if self.end < self.start:
            raise ValueError(f"a tensor's place ends at {self.end}, before it starts at {self.start}")


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """One compiled model.

    Attributes:
        layers: in the order of execution.
        features: the tensors between layers, in the block of `internal_kib`, which they share over time: one entry a
            reader.
        constants: weights, biases and tables, in the block of `weight_kib`.
        internal_kib, weight_kib: size of the two blocks, as the compiler totals them (six digits).
    """

    layers: Annotated[tuple[CompiledLayer, ...], Meta(max_length=MAX_LAYERS)]
    features: Annotated[tuple[PlacedTensor, ...], Meta(max_length=MAX_LAYERS)]
    constants: Annotated[tuple[PlacedTensor, ...], Meta(max_length=MAX_LAYERS)]
    internal_kib: BlockKib
    weight_kib: BlockKib

    def __post_init__(self) -> None:
        """Refuse tensors of layers that are not there.

        Raises:
            ValueError: a tensor names such a layer.
        """
        last = max((tensor.layer for tensor in (*self.features, *self.constants)), default=0)
        if last > max(0, len(self.layers) - 1):
            raise ValueError(f"a tensor is of layer {last}, and there are {len(self.layers)} layers")
