"""Emulation of the toolkit's INT8 arithmetic in PyTorch, from the files of quantization step 1.

Convolutions sum in float32 over weights that were rounded to their grid: scale and zero point per output channel, in
double precision.  Every tensor is rounded to its own grid, half to even, except a convolution's result before its
activation: the two are one operation of the NPU.  Tensors in float16 are left as they are.  The outputs of a
small network are those of the simulator of rknn-toolkit2 2.5.0, but for a step in under 1 % of the values (a test
compares them); the layers of larger networks were not compared one by one.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements, of which PyTorch is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

Tensor = Any  # torch.Tensor: this module must load where torch is not
LOW, HIGH = -128, 127
MOST_IMAGES = 32
LEAST_SQUARE = 1e-12  # of an output's step, if its layer stays float16
CONVERT, CONVOLUTION = "exDataConvert", "Conv"


class UnsupportedGraphError(Exception):
    """A graph with an operator, or a form of one, that is not emulated."""


@dataclass(frozen=True)
class Grid:
    """Integers of a tensor: real = (integer - zero_point) * scale."""

    scale: float
    zero_point: int

    def rounded(self, values: Tensor) -> Tensor:
        """Values after quantization and back, as a new tensor."""
        steps = (values / self.scale).round_().add_(self.zero_point).clamp_(LOW, HIGH)
        return steps.sub_(self.zero_point).mul_(self.scale)


def activations() -> dict[str, Callable[[Tensor], Tensor]]:
    """Operators that are one with the convolution before them -> their function."""
    import torch

    return {"exSwish": torch.nn.functional.silu, "Relu": torch.relu, "Sigmoid": torch.sigmoid}


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

    Raises:
        UnsupportedGraphError: naming the operator.
    """

    def __init__(self, model: Any, table: Mapping[str, Mapping[str, Any]], float16: Collection[str]) -> None:
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
        self.activations = activations()
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._operators = _operators()
        self._attributes = {
            node.output[0]: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in self.nodes
        }
        for node in self.nodes:
            if node.op_type not in self._operators and node.op_type not in self.activations:
                message = f"the operator {node.op_type} is not emulated"
                raise UnsupportedGraphError(message)
        self._grids = self._grids_of(table, set(float16))
        self._rounded = self._rounded_weights(table, set(float16))
        sources = {node.output[0]: node.input[0] for node in self.nodes if node.op_type == CONVERT}
        ends = [self._grids.get(sources.get(name, name)) for name in self.outputs]
        self.squared_steps = [LEAST_SQUARE if grid is None else grid.scale**2 for grid in ends]

    def activation_of(self, node: Any) -> str:
        """Operator that is one with a convolution; empty if none is."""
        readers = self.readers.get(node.output[0], [])
        if node.op_type != CONVOLUTION or len(readers) != 1 or readers[0].op_type not in self.activations:
            return ""
        return str(readers[0].op_type)

    def bias_of(self, node: Any) -> str:
        """Name of a convolution's bias that no other node reads; empty if it has none."""
        name = node.input[2] if node.op_type == CONVOLUTION and len(node.input) > 2 else ""
        return str(name) if name in self.constants and len(self.readers[name]) == 1 else ""

    def computed(self, node: Any, inputs: list[Tensor]) -> list[Tensor]:
        """Results of a node in float32, before they are rounded."""
        if node.op_type in self.activations:
            return [self.activations[node.op_type](inputs[0])]
        results: list[Tensor] = self._operators[node.op_type](inputs, self._attributes[node.output[0]])
        return results

    def rounded(self, name: str, values: Tensor) -> Tensor:
        """Values of a tensor on its grid; as they are if it has none."""
        grid = self._grids.get(name)
        return values if grid is None else grid.rounded(values)

    def weights(self, node: Any) -> dict[str, Tensor]:
        """Constants that a node reads from the integers of the model: its rounded weights, by name."""
        if node.op_type != CONVOLUTION or node.input[1] not in self._rounded:
            return {}
        return {node.input[1]: self._rounded[node.input[1]]}

    def _grids_of(self, table: Mapping[str, Mapping[str, Any]], float16: set[str]) -> dict[str, Grid]:
        one_operation = {node.output[0] for node in self.nodes if self.activation_of(node)}
        return {
            name: Grid(float(entry["scale"][0]), int(entry["zero_point"][0]))
            for name, entry in table.items()
            if entry.get("dtype") == "int8"
            and len(entry["scale"]) == 1
            and name not in self.constants
            and entry.get("qmode_dtype") != "float32"  # the toolkit's own mark of what is never stored
            and name not in one_operation
            and name not in float16
        }

    def _rounded_weights(self, table: Mapping[str, Mapping[str, Any]], float16: set[str]) -> dict[str, Tensor]:
        import torch

        rounded = {}
        for node in self.nodes:
            if node.op_type != CONVOLUTION or node.output[0] in float16:
                continue
            name, entry = node.input[1], table.get(node.input[1], {})
            if name not in self.constants or entry.get("dtype") != "int8" or not len(entry["scale"]):
                message = f'the weights "{name}" have no INT8 grid'
                raise UnsupportedGraphError(message)
            column = (-1, *[1] * (self.constants[name].dim() - 1))
            scale = torch.tensor(list(map(float, entry["scale"])), dtype=torch.float64).view(column)
            zero_point = torch.tensor(list(map(float, entry["zero_point"])), dtype=torch.float64).view(column)
            steps = (self.constants[name].double() / scale).round_().add_(zero_point).clamp_(LOW, HIGH)
            rounded[name] = ((steps - zero_point) * scale).float()
        return rounded


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
        return network.computed(node, inputs)

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


def _operators() -> dict[str, Callable[[list[Tensor], Mapping[str, Any]], list[Tensor]]]:
    """Operators that are emulated, apart from activations -> results from inputs and attributes."""
    return {
        CONVERT: lambda inputs, _: [inputs[0]],
        CONVOLUTION: _convolution,
        "Add": lambda inputs, _: [inputs[0] + inputs[1]],
        "Mul": lambda inputs, _: [inputs[0] * inputs[1]],
        "Concat": _concatenation,
        "MaxPool": _max_pool,
        "Resize": _nearest,
        "Split": _split,
    }


def _padded(values: Tensor, attributes: Mapping[str, Any], fill: float) -> Tensor:
    import torch

    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if not any((top, left, bottom, right)):
        return values
    return torch.nn.functional.pad(values, (left, right, top, bottom), value=fill)


def _convolution(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    values, padding = inputs[0], attributes.get("pads", [0, 0, 0, 0])
    if list(padding[:2]) != list(padding[2:]):
        values, padding = _padded(values, attributes, 0.0), [0, 0]
    return [
        torch.nn.functional.conv2d(
            values,
            inputs[1],
            inputs[2] if len(inputs) > 2 else None,
            attributes.get("strides", [1, 1]),
            tuple(padding[:2]),
            attributes.get("dilations", [1, 1]),
            attributes.get("group", 1),
        )
    ]


def _concatenation(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    return [torch.cat(inputs, attributes["axis"])]


def _max_pool(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    import torch

    if attributes.get("ceil_mode") or attributes.get("dilations", [1, 1]) != [1, 1]:
        message = "a MaxPool with ceil_mode or dilations is not emulated"
        raise UnsupportedGraphError(message)
    values = _padded(inputs[0], attributes, float("-inf"))
    return [torch.nn.functional.max_pool2d(values, attributes["kernel_shape"], attributes.get("strides", [1, 1]))]


def _nearest(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    scales = [float(scale) for scale in inputs[-1]] if len(inputs) > 1 and inputs[-1].numel() == 4 else []
    whole = [int(scale) for scale in scales]
    if attributes.get("mode", b"nearest") != b"nearest" or whole != scales or whole[:2] != [1, 1]:
        message = "a Resize other than nearest by whole factors is not emulated"
        raise UnsupportedGraphError(message)
    return [inputs[0].repeat_interleave(whole[2], 2).repeat_interleave(whole[3], 3)]


def _split(inputs: list[Tensor], attributes: Mapping[str, Any]) -> list[Tensor]:
    if len(inputs) < 2:
        message = "a Split without sizes is not emulated"
        raise UnsupportedGraphError(message)
    return list(inputs[0].split([int(size) for size in inputs[1]], attributes.get("axis", 0)))
