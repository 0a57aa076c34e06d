"""Probe for class maps among a graph's outputs: planes of the input's size, one per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import Activation
from rkdeploy.host.graph.foreign import opset
from rkdeploy.host.graph.graph_view import GraphView, attributes
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap

_BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class MapTensor:
    """One class map.

    Attributes:
        output: the graph's output.
        tensor: the scores before a last sigmoid or softmax, which does not change the highest class.
        node: the node that computes them.
        shape: (1, planes, height, width).
        activation: activation between the two.
    """

    output: str
    tensor: str
    node: str
    shape: tuple[int, int, int, int]
    activation: Activation


def map_outputs(graph: GraphView) -> tuple[MapTensor, ...]:
    """The outputs that are as large as the image and have two planes or more."""
    found = []
    for output in graph.outputs:
        shape = graph.shape(output)
        if len(shape) == 4 and shape[0] == 1 and shape[1] >= 2 and shape[2:] == graph.image_shape[2:]:
            found.append(_before_activation(graph, output, (1, shape[1], shape[2], shape[3])))
    return tuple(found)


def _before_activation(graph: GraphView, output: str, shape: tuple[int, int, int, int]) -> MapTensor:
    tensor = output
    activation: Activation = "linear"
    while (node := graph.producer(tensor)) is not None:
        if node.op_type != "Identity":
            kind = _activation(node, opset(graph.model))
            if kind == "linear" or activation != "linear":
                break
            activation = kind
        tensor = node.input[0]
    return MapTensor(output, tensor, (node.name if node is not None else "") or tensor, shape, activation)


def _activation(node: onnx.NodeProto, version: int) -> Activation:
    if node.op_type == "Sigmoid":
        return "sigmoid"
    if version < 13:  # a softmax of these opsets runs over all dimensions from its axis on
        return "linear"
    is_over_planes = node.op_type == "Softmax" and attributes(node).get("axis", -1) in (1, -3)
    return "softmax" if is_over_planes else "linear"


def with_class_maps(graph: GraphView, head: Head, maps: Sequence[MapTensor], known: Mapping[str, ClassMapSpec]) -> Head:
    """The head with class maps in addition to its detections.

    Args:
        graph: the graph.
        head: without them.
        maps: of the graph.
        known: the contract's names of a map, by the name of the output; for others the output's own name is taken.
    """
    taken = {name for node in graph.model.graph.node for name in (*node.input, *node.output)}
    for found in maps:
        stated = known.get(found.output) or _stated(found, taken)
        tap = Tap(found.node, found.tensor, "class_map", found.shape, 1, name=stated.output)
        head = replace(
            head,
            taps=(*head.taps, tap),
            tensors=(*head.tensors, DecodedTensor(stated.output, found.output, found.activation)),
            class_maps=(*head.class_maps, stated),
        )
    return head


def _stated(found: MapTensor, taken: set[str]) -> ClassMapSpec:
    """Names for an unknown map: the contract's name must not be that of another tensor."""
    name = f"{found.output}_map"
    while name in taken:
        name += "_map"
    planes = found.shape[1]
    names = (found.output,) if planes == 2 else tuple(f"class_{i}" for i in range(1, planes))
    return ClassMapSpec(name, (_BACKGROUND, *names))
