"""Depthwise convolutions in parts, so that channels of unlike ranges do not share a quantization scale.

A tensor has one scale for all its channels.  A depthwise convolution that multiplies some channels by 0.1 and others
by 100 was trained on inputs whose ranges differ as much the other way; the steps of the largest then swallow the
smallest.  Here the convolution before, the activation, and the depthwise convolution with its own activation are
computed in parts of similar channels and joined behind.  The values stay what they are: channels do not mix in
between, and the convolutions that read the joined tensor take its channels in their new order.

No image is needed to find the parts.  With w the largest weight of a channel, its range is taken to be 1 / w, and the
parts are those contiguous runs, in the order of w, that make the sum of (w * range of the part)^2 smallest: the
variance that rounding the input adds to the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView, attributes

_UNARY: Final = frozenset({"Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid"})
_GATES: Final = frozenset({"Sigmoid", "HardSigmoid"})  # x * gate(x): SiLU, Hardswish
_LEAST_GAIN: Final = 4.0
"""Factor by which the added variance must fall, for a part costs the NPU a layer and filled channels."""
_SMALLEST: Final = 0.01
"""Of the median weight: below that a channel counts as hardly used, whatever its range."""
USUAL_PARTS: Final = 3
FEWEST_NAMED: Final = 4
"""Uneven depthwise convolutions from which on they are named as a likely cause."""


@dataclass(frozen=True, slots=True)
class _Activated:
    """A convolution and the activation behind it: no node, one, or a gate and its product."""

    conv: onnx.NodeProto
    behind: tuple[onnx.NodeProto, ...]

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """All nodes, in order."""
        return (self.conv, *self.behind)

    @property
    def output(self) -> str:
        """The tensor that the others read."""
        return str(self.nodes[-1].output[0])


@dataclass(frozen=True, slots=True)
class _Place:
    """A depthwise convolution that can be computed in parts.

    Attributes:
        before: the convolution that computes its input.
        depthwise: the depthwise convolution.
        readers: convolutions that read it.
        weights: the largest weight of each channel.
    """

    before: _Activated
    depthwise: _Activated
    readers: tuple[onnx.NodeProto, ...]
    weights: NDArray[np.float64]


def with_depthwise_parts(model: onnx.ModelProto, parts: int) -> onnx.ModelProto:
    """The graph with its uneven depthwise convolutions in parts; itself if there are none.

    Args:
        model: a simplified graph.
        parts: largest number of parts; 1 leaves everything as it is.
    """
    if parts < 2:
        return model
    chosen = [(place, split) for place, split, gain in _splits(model, parts) if gain >= _LEAST_GAIN]
    if not chosen:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    names = {name for node in model.graph.node for name in (*node.input, *node.output, node.name)}
    left = {id(node) for place, _ in chosen for node in (*place.before.nodes, *place.depthwise.nodes)}
    writers = {place.depthwise.output: _Writer(model, result.graph, names, place, split) for place, split in chosen}
    orders = {place.depthwise.output: np.concatenate(split) for place, split in chosen}
    joined: dict[str, str] = {}
    for node in model.graph.node:
        for output in node.output:
            if output in writers:
                joined[output] = writers[output].write(joined, orders)
        if id(node) not in left:
            result.graph.node.append(node)
            for index, name in enumerate(node.input):
                if name in joined:
                    _reorder(model, result.graph, result.graph.node[-1], index, joined[name], orders[name], names)
    used = {name for node in result.graph.node for name in node.input}
    constants = [constant for constant in result.graph.initializer if constant.name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(constants)
    return result


def uneven_depthwise(model: onnx.ModelProto) -> int:
    """Number of depthwise convolutions that parts would help."""
    return sum(gain >= _LEAST_GAIN for _, _, gain in _splits(model, USUAL_PARTS))


def depthwise_hint(model: onnx.ModelProto) -> str:
    """A sentence for a build whose INT8 fails, with a space behind it; empty if parts would help few layers."""
    uneven = uneven_depthwise(model)
    if uneven < FEWEST_NAMED:
        return ""
    return (
        f"{uneven} depthwise convolutions read channels whose ranges differ too much for one scale: build with "
        "--algorithm sensitivity --bias-correction, which costs no time on the NPU; if that is not enough, add "
        f"--depthwise-parts {USUAL_PARTS}, which does. "
    )


def _splits(model: onnx.ModelProto, parts: int) -> list[tuple[_Place, list[NDArray[np.intp]], float]]:
    """Every place with its parts, and the factor by which they lower the added variance."""
    found = []
    for place in _places(GraphView(model)):
        split, cost = split_channels(place.weights, parts)
        found.append((place, split, split_channels(place.weights, 1)[1] / cost))
    return found


def split_channels(weights: NDArray[np.float64], parts: int) -> tuple[list[NDArray[np.intp]], float]:
    """Channels in parts of similar weights, and the variance that rounding their input adds, up to a factor.

    Args:
        weights: largest weight of each channel, (C,).
        parts: number of parts; fewer where there are fewer channels.
    """
    least = max(_SMALLEST * float(np.median(weights)), float(np.finfo(np.float32).tiny))
    floored = np.maximum(weights, least)
    order = np.argsort(-floored, kind="stable")
    sums = np.concatenate(([0.0], np.cumsum(floored[order] ** 2)))
    reach = np.concatenate(([0.0], 1 / floored[order] ** 2))  # squared range of a part that ends behind channel b
    run = np.where(np.tri(len(sums), k=-1, dtype=bool), (sums[:, None] - sums[None]) * reach[:, None], np.inf)
    best, steps = np.where(np.arange(len(sums)) == 0, 0.0, np.inf), []
    for _ in range(min(parts, len(order))):
        candidates = best[None] + run
        steps.append(candidates.argmin(axis=1))
        best = candidates.min(axis=1)
    ends = [len(order)]
    for step in reversed(steps):
        ends.append(int(step[ends[-1]]))
    ends.reverse()
    return [order[a:b] for a, b in pairwise(ends)], float(best[-1])


# --------------------------------------------------------------------------------------------------------------------
# Places in the graph
# --------------------------------------------------------------------------------------------------------------------


def _places(graph: GraphView) -> list[_Place]:
    ends = set(graph.outputs)
    found = []
    for node in graph.model.graph.node:
        weight = graph.value(node.input[1]) if node.op_type == "Conv" else None
        if (
            weight is None
            or weight.ndim != 4
            or weight.shape[1] != 1
            or _groups(node) != len(weight)
            or len(weight) < 2
        ):
            continue
        before, depthwise = _activated_before(graph, node.input[0]), _activated_behind(graph, node)
        readers = graph.consumers(depthwise.output)
        inner = {name for part in (before, depthwise) if part is not None for n in part.nodes for name in n.output}
        if before is None or len(graph.consumers(node.input[0])) != 1 or ends & inner:
            continue
        if not _is_plain(graph, before.conv) or not readers or not all(_is_plain(graph, r) for r in readers):
            continue
        largest = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).max(axis=1)
        found.append(_Place(before, depthwise, readers, largest))
    return found


def _groups(node: onnx.NodeProto) -> int:
    return int(attributes(node).get("group", 1))


def _is_plain(graph: GraphView, node: onnx.NodeProto) -> bool:
    """True for a convolution in one group with constant weights."""
    constant = node.op_type == "Conv" and all(graph.value(name) is not None for name in node.input[1:])
    return constant and _groups(node) == 1


def _activated_before(graph: GraphView, tensor: str) -> _Activated | None:
    """The convolution, and its activation, that alone computes a tensor."""
    last = graph.producer(tensor)
    while last is not None and last.op_type != "Conv":
        last = graph.producer(last.input[0]) if last.op_type in _UNARY | {"Mul"} else None
    if last is None:
        return None
    found = _activated_behind(graph, last)
    return found if found.output == tensor else None


def _activated_behind(graph: GraphView, conv: onnx.NodeProto) -> _Activated:
    """A convolution with the activation that is the only reader of its output."""
    readers = graph.consumers(conv.output[0])
    if len(readers) == 1 and readers[0].op_type in _UNARY and readers[0].input[0] == conv.output[0]:
        return _Activated(conv, (readers[0],))
    gate = next((node for node in readers if node.op_type in _GATES), None)
    product = next((node for node in readers if node.op_type == "Mul"), None)
    if len(readers) != 2 or gate is None or product is None or gate.output[0] not in product.input:
        return _Activated(conv, ())
    return _Activated(conv, (gate, product)) if len(graph.consumers(gate.output[0])) == 1 else _Activated(conv, ())


# --------------------------------------------------------------------------------------------------------------------
# Writing
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writer of one place in parts to a graph."""

    source: onnx.ModelProto
    graph: onnx.GraphProto
    names: set[str]
    place: _Place
    split: Sequence[NDArray[np.intp]]

    def write(self, joined: Mapping[str, str], orders: Mapping[str, NDArray[np.intp]]) -> str:
        """Append the nodes; returns the name of the joined tensor.

        Args:
            joined: tensors of places before this one that were joined, by their former names.
            orders: channels of the joined tensors, by the former names.
        """
        ends = []
        source = str(self.place.before.conv.input[0])
        order = orders[source] if source in joined else None
        for number, channels in enumerate(self.split):
            inner = self._part(self.place.before, number, channels, joined.get(source, source), order)
            ends.append(self._part(self.place.depthwise, number, channels, inner))
        name = _free(f"{self.place.depthwise.output}.joined", self.names)
        self.graph.node.append(helper.make_node("Concat", ends, [name], name=name, axis=1))
        return name

    def _part(
        self,
        block: _Activated,
        number: int,
        channels: NDArray[np.intp],
        value: str,
        order: NDArray[np.intp] | None = None,
    ) -> str:
        """The nodes for some channels of the output, which read `value`, whose channels are in that order."""
        view = GraphView(self.source)
        renamed = {str(block.conv.input[0]): value}
        for index, name in enumerate(block.conv.input[1:]):
            inner = order if index == 0 else None
            renamed[str(name)] = _constant(self.graph, view, str(name), channels, 0, number, self.names, inner)
        for node in block.nodes:
            for output in node.output:
                renamed[str(output)] = _free(f"{output}.part{number}", self.names)
            copy = self.graph.node.add()
            copy.CopyFrom(node)
            copy.name = _free(f"{node.name or node.output[0]}.part{number}", self.names)
            copy.input[:] = [renamed.get(name, name) for name in node.input]
            copy.output[:] = [renamed[str(name)] for name in node.output]
            for attribute in copy.attribute:
                if attribute.name == "group" and block is self.place.depthwise:
                    attribute.i = len(channels)
        return renamed[block.output]


def _reorder(
    model: onnx.ModelProto,
    graph: onnx.GraphProto,
    reader: onnx.NodeProto,
    index: int,
    tensor: str,
    order: NDArray[np.intp],
    names: set[str],
) -> None:
    """Let a convolution read the joined tensor, with its weights in that order of channels."""
    reader.input[index] = tensor
    reader.input[1] = _constant(graph, GraphView(model), str(reader.input[1]), order, 1, 0, names)


def _constant(
    graph: onnx.GraphProto,
    view: GraphView,
    name: str,
    channels: NDArray[np.intp],
    axis: int,
    number: int,
    names: set[str],
    inner: NDArray[np.intp] | None = None,
) -> str:
    """Store some channels of a constant under a new name, its second axis in the order `inner`."""
    values: NDArray[Any] | None = view.value(name)
    assert values is not None, "places have constant weights"
    values = values if inner is None else values.take(inner, 1)
    new = _free(f"{name}.part{number}", names)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.take(channels, axis)), new))
    return new


def _free(name: str, names: set[str]) -> str:
    """A name that the graph does not have, from now on taken."""
    while name in names:
        name += "_"
    names.add(name)
    return name
