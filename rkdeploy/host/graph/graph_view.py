"""Read-only view of an ONNX graph: producer, consumers, shape and constant value of a tensor.

A protobuf graph is lists of nodes that name tensors.  Every question about it ("what computes this?") is a search, so
the tables are made once here, each on first use.  The graph must not change while it is viewed: rewrites
copy the model, change the copy, and view that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


@dataclass(frozen=True, eq=False)
class GraphView:
    """A graph by its tensors.

    Attributes:
        model: the viewed model.  Nodes inside If, Loop and Scan are not included: their tensors are local.
    """

    model: onnx.ModelProto

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor; None for inputs, constants and names that the graph does not have."""
        return self.producers.get(tensor)

    def consumers(self, tensor: str) -> tuple[onnx.NodeProto, ...]:
        """The nodes that take a tensor, in the order of the graph."""
        return self._consumers.get(tensor, ())

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor; empty if an axis is free, or its shape is not known."""
        return self.shapes.get(tensor, ())

    def value(self, tensor: str) -> NDArray[Any] | None:
        """Value of a constant; None for a tensor that is computed or given."""
        constant = self.constants.get(tensor)
        return None if constant is None else np.asarray(numpy_helper.to_array(constant))

    def stored(self, tensor: str) -> NDArray[Any] | None:
        """Value of a constant, which may be a node of its own; None for a tensor that is computed or given."""
        node = self.producer(tensor)
        if node is None or node.op_type != "Constant":
            return self.value(tensor)
        constant = next((a.t for a in node.attribute if a.name == "value"), None)
        return None if constant is None else np.asarray(numpy_helper.to_array(constant))

    def back(
        self, ends: Iterable[str], through: Callable[[onnx.NodeProto], bool] = lambda _: True
    ) -> Iterator[tuple[str, onnx.NodeProto]]:
        """Walk from tensors back to their producers, depth first.

        Args:
            ends: start of the walk; the last one is walked first.
            through: True to continue from a node to its inputs.

        Yields:
            Each computed tensor that is met, once, and the node that computes it.
        """
        pending, seen = list(ends), set()
        while pending:
            tensor = pending.pop()
            node = self.producer(tensor)
            if node is None or tensor in seen:
                continue
            seen.add(tensor)
            yield tensor, node
            if through(node):
                pending.extend(node.input)

    @cached_property
    def inputs(self) -> Mapping[str, onnx.ValueInfoProto]:
        """Inputs of a run, by name: old exporters list the weights among the inputs, which are left out."""
        return {info.name: info for info in self.model.graph.input if info.name not in self.constants}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return tuple(info.name for info in self.model.graph.output)

    @cached_property
    def producers(self) -> Mapping[str, onnx.NodeProto]:
        """Every computed tensor, in the order of the graph, and the node that computes it."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the first input, (N, 3, H, W) of an image model; empty if an axis is free."""
        return self.shape(next(iter(self.inputs), ""))

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Static shapes by tensor name; tensors with a free or unknown axis are left out."""
        graph = self.model.graph
        found = {}
        for info in (*graph.input, *graph.value_info, *graph.output):
            dims = info.type.tensor_type.shape.dim
            if all(d.HasField("dim_value") for d in dims):
                found[info.name] = tuple(d.dim_value for d in dims)
        return found

    @cached_property
    def indices(self) -> frozenset[str]:
        """Tensors of whole numbers or truth values: shapes, and the places of a selection."""
        graph = self.model.graph
        whole = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
        return frozenset(i.name for i in (*graph.value_info, *graph.output) if i.type.tensor_type.elem_type in whole)

    @cached_property
    def inner_operators(self) -> frozenset[str]:
        """Operators inside the branches and loops of its nodes, one level deep."""
        graphs = [a.g for node in self.model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
        return frozenset(node.op_type for graph in graphs for node in graph.node)

    @cached_property
    def constants(self) -> Mapping[str, onnx.TensorProto]:
        """The graph's constants (initializers) by name."""
        return {constant.name: constant for constant in self.model.graph.initializer}

    @cached_property
    def _consumers(self) -> Mapping[str, tuple[onnx.NodeProto, ...]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items() if name}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node by name, as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
