"""What the toolkit's compiler said of a model, as plain data: kept in `build.json`.

All of it is the compiler's own prediction or plan; nothing here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


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

    number: int
    op: str
    name: str
    dtype: str
    target: str
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    ddr_cycles: int
    npu_cycles: int
    total_cycles: int
    read_kib: float

    @property
    def is_end(self) -> bool:
        """Whether it is no layer of the network, but the way in or out."""
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

    layer: int
    name: str
    dtype: str
    shape: Shape
    start: int
    end: int


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

    layers: tuple[CompiledLayer, ...]
    features: tuple[PlacedTensor, ...]
    constants: tuple[PlacedTensor, ...]
    internal_kib: float
    weight_kib: float
