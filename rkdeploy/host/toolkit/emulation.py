"""Emulation of the toolkit's INT8 arithmetic in PyTorch, from the files of quantization step 1.

Convolutions sum in float32 over weights that were rounded to their grid: scale and zero point per output channel, in
double precision.  Biases are integers of the input's scale times the weights' scales.  Every tensor is rounded to its
own grid, half to even, except what the toolkit's table marks as never stored, such as a convolution's result before its
activation: the two are one operation of the NPU.  Tensors in float16 are left as they are.  Node by node the values are
those of the simulator of rknn-toolkit2 2.5.0, but for ties (docs/quantization.md, "Emulation").

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements, of which PyTorch is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    Operator = Callable[[list[Any], Mapping[str, Any]], list[Any]]

Tensor = Any  # torch.Tensor: this module must load where torch is not
LOW, HIGH = -128, 127
MOST_IMAGES = 32
LEAST_SQUARE = 1e-12  # of an output's step, if its layer stays float16
CONVERT, CONVOLUTION = "exDataConvert", "Conv"
WEIGHTED = {CONVOLUTION: 0, "ConvTranspose": 1}  # operators with rounded weights -> axis of their grids
NEVER_STORED = "float32"  # the toolkit's own mark in its table: the result is one operation with its reader
# One operation with the convolution before them, value by value.
ACTIVATIONS = frozenset({
    "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Sigmoid", "Tanh", "exGelu",
    "exMish", "exSwish",
})  # fmt: skip


class UnemulatedGraphError(RuntimeError):
    """A graph that cannot be emulated."""


@dataclass(frozen=True)
class Grid:
    """Integers of a tensor: real = (integer - zero_point) * scale."""

    scale: float
    zero_point: int

    def rounded(self, values: Tensor) -> Tensor:
        """Values after quantization and back, as a new tensor."""
        steps = (values / self.scale).round_().add_(self.zero_point).clamp_(LOW, HIGH)
        return steps.sub_(self.zero_point).mul_(self.scale)


def network_inputs(dataset: Path, mean: Sequence[float], std: Sequence[float]) -> list[Tensor]:
    """Calibration images as a graph takes them, (1, C, H, W) float32 each: (pixel - mean) / std.

    Args:
        dataset: list of `.npy` files, (1, C, H, W) uint8 each; more than `MOST_IMAGES` are not read.
        mean: per channel, in pixel values.
        std: per channel, in pixel values.
    """
    import numpy as np
    import torch

    column = (1, -1, 1, 1)
    means, stds = (np.array(values, np.float32).reshape(column) for values in (mean, std))
    files = dataset.read_text().splitlines()[:MOST_IMAGES]
    return [torch.from_numpy((np.load(file).astype(np.float32) - means) / stds) for file in files]


class EmulatedNetwork:
    """The graph of step 1 with its quantization.

    Args:
        model: step 1's `.model`, an `onnx.ModelProto`.
        table: quantization of every tensor by name, weights included: `quant_tab` of step 1's `.data`.
        float16: tensors that are not quantized.
        operators: of `emulated_operators`.

    Raises:
        UnemulatedGraphError: naming the operator.
    """

    def __init__(
        self,
        model: Any,
        table: Mapping[str, Mapping[str, Any]],
        float16: Collection[str],
        operators: Mapping[str, Operator],
    ) -> None:
        import onnx
        import torch
        from onnx import numpy_helper

        graph = model.graph
        self.nodes = list(graph.node)
        self.input: str = graph.input[0].name
        self.outputs = [output.name for output in graph.output]
        self.constants: dict[str, Tensor] = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
        }
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._operators = operators
        self._attributes = {
            node.output[0]: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in self.nodes
        }
        for node in self.nodes:
            if node.op_type not in self._operators:
                message = f"the operator {node.op_type} is not emulated"
                raise UnemulatedGraphError(message)
        self._grids = self._grids_of(table, set(float16))
        self._rounded = self._rounded_constants(table, set(float16))
        self._bias_steps = self._steps_of_biases(table)
        self._inner_grids = self._grids_within(table, set(float16))
        sources = {node.output[0]: node.input[0] for node in self.nodes if node.op_type == CONVERT}
        ends = [self._grids.get(sources.get(name, name)) for name in self.outputs]
        self.squared_steps = [LEAST_SQUARE if grid is None else grid.scale**2 for grid in ends]

    def activation_of(self, node: Any) -> Callable[[Tensor], Tensor] | None:
        """The activation that is one with a convolution; None if none is."""
        readers = self.readers.get(node.output[0], [])
        if node.op_type not in WEIGHTED or len(readers) != 1 or readers[0].op_type not in ACTIVATIONS:
            return None
        (reader,) = readers
        limits = [self.constants[name] for name in reader.input[1:] if name in self.constants]
        return lambda values: self.computed(reader, [values, *limits])[0]

    def bias_of(self, node: Any) -> str:
        """Name of a convolution's bias that no other node reads; empty if it has none."""
        name = node.input[2] if node.op_type == CONVOLUTION and len(node.input) > 2 else ""
        return str(name) if name in self.constants and len(self.readers[name]) == 1 else ""

    def computed(self, node: Any, inputs: list[Tensor], *, quantized: bool = False) -> list[Tensor]:
        """Results of a node in float32, before they are rounded; with rounding within the node if that is quantized."""
        attributes = self._attributes[node.output[0]]
        inner = self._inner_grids.get(node.output[0]) if quantized else None
        return self._operators[node.op_type](inputs, attributes if inner is None else {**attributes, "inner": inner})

    def grid(self, name: str) -> Grid | None:
        """Grid of a tensor; None for one that is never stored, or has float values."""
        return self._grids.get(name)

    def rounded(self, name: str, values: Tensor) -> Tensor:
        """Values of a tensor on its grid; as they are if it has none."""
        grid = self._grids.get(name)
        return values if grid is None else grid.rounded(values)

    def weights(self, node: Any) -> dict[str, Tensor]:
        """Constants that a node reads from the integers of the model: its rounded weights, by name."""
        return {name: self._rounded[name] for name in node.input if name in self._rounded}

    def rounded_bias(self, node: Any, values: Tensor) -> Tensor:
        """A convolution's bias as its integers: steps of the input's scale times the weights' scales."""
        steps = self._bias_steps.get(node.output[0])
        return values if steps is None else ((values.double() / steps).round_() * steps).float()

    def _steps_of_biases(self, table: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
        import torch

        found = {}
        for node in self.nodes:
            grid = self._grids.get(node.input[0]) if node.input else None
            if node.op_type in WEIGHTED and grid is not None and node.input[1] in self._rounded:
                scales = torch.tensor(list(map(float, table[node.input[1]]["scale"])), dtype=torch.float64)
                found[node.output[0]] = scales * grid.scale
        return found

    def _grids_of(self, table: Mapping[str, Mapping[str, Any]], float16: set[str]) -> dict[str, Grid]:
        return {
            name: _grid(entry)
            for name, entry in table.items()
            if entry.get("dtype") == "int8"
            and len(entry["scale"]) == 1
            and name not in self.constants
            and entry.get("qmode_dtype") != NEVER_STORED
            and name not in float16
        }

    def _grids_within(self, table: Mapping[str, Mapping[str, Any]], float16: set[str]) -> dict[str, dict[str, Grid]]:
        """Grids of the tensors within a node, which its attributes name: output -> attribute -> grid."""
        found = {}
        for output, attributes in self._attributes.items():
            named = {key: value.decode() for key, value in attributes.items() if isinstance(value, bytes)}
            grids = {
                key: _grid(table[name]) for key, name in named.items() if table.get(name, {}).get("dtype") == "int8"
            }
            if grids and output not in float16:
                found[output] = grids
        return found

    def _rounded_constants(self, table: Mapping[str, Mapping[str, Any]], float16: set[str]) -> dict[str, Tensor]:
        """Weights on the grids of their output channels; other constants, of which few have grids, on one each."""
        rounded = {}
        for node in self.nodes:
            if node.output[0] in float16:
                continue
            for name in (name for name in node.input if name in self.constants):
                entry = table.get(name, {})
                is_weight = node.op_type in WEIGHTED and name == node.input[1]
                if entry.get("dtype") == "int8" and len(entry["scale"]):
                    axis = WEIGHTED[node.op_type] if is_weight else 0
                    rounded[name] = rounded_constant(self.constants[name], entry, axis)
                elif is_weight:
                    message = f'the weights "{name}" have no INT8 grid'
                    raise UnemulatedGraphError(message)
        return rounded


def _grid(entry: Mapping[str, Any]) -> Grid:
    return Grid(float(entry["scale"][0]), int(entry["zero_point"][0]))


def rounded_constant(values: Tensor, entry: Mapping[str, Any], axis: int) -> Tensor:
    """Values after quantization and back, in double precision as in the toolkit.

    Args:
        values: float32, any shape.
        entry: of the quantization table, with one grid for all or one for each index of an axis.
        axis: that axis.
    """
    import torch

    column = [1] * values.dim()
    if len(entry["scale"]) > 1:
        column[axis] = -1
    scale = torch.tensor(list(map(float, entry["scale"])), dtype=torch.float64).view(column)
    zero_point = torch.tensor(list(map(float, entry["zero_point"])), dtype=torch.float64).view(column)
    steps = (values.double() / scale).round_().add_(zero_point).clamp_(LOW, HIGH)
    return ((steps - zero_point) * scale).float()


class EmulatedRun:
    """One batch on its way through a network; tensors are dropped after their last reader.

    Args:
        network: the network.
        images: (N, C, H, W) float32, what the graph's input takes.
        quantized: False for the float model.
        biases: name -> values instead of the network's own; may grow while the run goes on.
    """

    def __init__(
        self, network: EmulatedNetwork, images: Tensor, *, quantized: bool, biases: Mapping[str, Tensor] | None = None
    ) -> None:
        self._network = network
        self._quantized = quantized
        self._biases = biases if biases is not None else {}
        self._unread = {name: len(readers) for name, readers in network.readers.items()}
        self.values: dict[str, Tensor] = {network.input: images}

    def compute(self, node: Any) -> list[Tensor]:
        """Results of the next node, not yet rounded."""
        network = self._network
        own = network.weights(node) if self._quantized else {}
        sources = (self.values, self._biases, own, network.constants)
        inputs = [next(source[name] for source in sources if name in source) for name in node.input if name]
        if self._quantized and len(inputs) > 2:
            inputs[2] = network.rounded_bias(node, inputs[2])
        return network.computed(node, inputs, quantized=self._quantized)

    def store(self, node: Any, results: Iterable[Tensor]) -> None:
        """Round the results of a node, and drop the inputs that no other node reads."""
        for name, values in zip(node.output, results, strict=True):
            self.values[name] = self._network.rounded(name, values) if self._quantized else values
        for name in node.input:
            self._unread[name] = self._unread.get(name, 0) - 1
            if self._unread[name] <= 0 and name not in self._network.outputs:
                self.values.pop(name, None)

    def outputs(self) -> list[Tensor]:
        """The network's outputs, after all of its nodes."""
        for node in self._network.nodes:
            self.store(node, self.compute(node))
        return [self.values[name] for name in self._network.outputs]
