"""Heads whose last map is two convolutions side by side, as one convolution.

YOLOv7-pose and -face count the fields of an anchor off the channels of both convolutions together (models/yolo.py,
`IKeypoint`), and change their inputs and outputs by trained constants (`ImplicitA`, `ImplicitM`).  A 1x1 convolution
takes all of that in: the constants into its weights, the other one as further channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView, attributes

_MAX_LEVELS = 8
_MAX_WEIGHTS = 1 << 24


@dataclass(frozen=True, slots=True)
class JoinedBranch:
    """A 1x1 convolution with the constants before and behind it taken in.

    Attributes:
        source: tensor that it reads.
        weight: (out, in) float64.
        bias: (out,) float64.
    """

    source: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


def with_joined_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every last pair of convolutions as one; the model itself where there is none.

    Args:
        model: simplified, with shapes.  The numbers stay the same but for the rounding of products of constants.
    """
    graph = GraphView(model)
    pairs = []
    for node in model.graph.node:
        branches = _branches(graph, node)
        if branches is not None:
            pairs.append((node, branches))
    if not 0 < len(pairs) <= _MAX_LEVELS:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node, branches in pairs:
        _replace(result.graph, node, branches, graph)
    prune(result.graph)
    return result


def _branches(graph: GraphView, node: onnx.NodeProto) -> tuple[JoinedBranch, ...] | None:
    """The convolutions that a node joins; None where it is something else.

    Only a map whose channels are counted off behind it is meant: a Reshape takes it, and nothing else.
    """
    if node.op_type != "Concat" or attributes(node).get("axis") != 1 or len(node.input) != 2:
        return None
    if [consumer.op_type for consumer in graph.consumers(node.output[0])] != ["Reshape"]:
        return None
    found = [branch_of(graph, name) for name in node.input]
    branches = tuple(branch for branch in found if branch is not None)
    shapes = [graph.shape(name) for name in node.input]
    if len(branches) != 2 or any(len(shape) != 4 for shape in shapes):
        return None
    size = sum(len(b.weight) for b in branches) * sum(b.weight.shape[1] for b in branches)
    return branches if size <= _MAX_WEIGHTS else None


def branch_of(graph: GraphView, tensor: str) -> JoinedBranch | None:
    """The convolution that computes a tensor, perhaps through a product with a constant and of a sum with one."""
    node, factor = _through(graph, tensor, "Mul")
    if node is None or node.op_type != "Conv" or len(node.input) < 2:
        return None
    weight = graph.value(node.input[1])
    bias = graph.value(node.input[2]) if len(node.input) > 2 else None
    plain = {"group": 1, "strides": [1, 1], "pads": [0, 0, 0, 0]}
    settings = attributes(node)
    if weight is None or weight.ndim != 4 or weight.shape[2:] != (1, 1) or (len(node.input) > 2 and bias is None):
        return None
    if any(settings.get(name, value) != value for name, value in plain.items()) or "auto_pad" in settings:
        return None
    out, inputs = weight.shape[:2]
    matrix = weight[:, :, 0, 0].astype(np.float64)
    offset = np.zeros(out) if bias is None else bias.astype(np.float64).ravel()
    before, shift = _through(graph, node.input[0], "Add")
    source = node.input[0]
    if before is not None and before is not graph.producer(source):
        source = before.output[0]
    if offset.shape != (out,) or factor.size not in (0, out) or shift.size not in (0, inputs):
        return None
    offset = offset + (matrix @ shift if shift.size else 0.0)
    scale = factor if factor.size else np.ones(out)
    return JoinedBranch(source, matrix * scale[:, None], offset * scale)


def _through(graph: GraphView, tensor: str, op: str) -> tuple[onnx.NodeProto | None, NDArray[np.float64]]:
    """The producer of a tensor, past one node `op` with a constant per channel, and that constant, else empty."""
    node = graph.producer(tensor)
    nothing = np.zeros(0)
    if node is None or node.op_type != op or len(node.input) != 2:
        return node, nothing
    values = [graph.value(name) for name in node.input]
    given = [name for name, value in zip(node.input, values, strict=True) if value is None]
    constant = next((value for value in values if value is not None), None)
    if constant is None or len(given) != 1 or constant.ndim != 4 or constant.shape[0] != 1:
        return node, nothing
    channels = constant[0, :, :1, :1]
    if not np.array_equal(np.broadcast_to(channels, constant.shape[1:]), constant[0]):
        return node, nothing
    return graph.producer(given[0]), channels.astype(np.float64).ravel()


def _replace(target: onnx.GraphProto, node: onnx.NodeProto, branches: Sequence[JoinedBranch], graph: GraphView) -> None:
    """Compute the output of `node` by one convolution: of the branches' input, or of both side by side."""
    name = node.output[0]
    nodes = joined_convolution(target, name, node.name or name, branches, graph)
    place = next(i for i, other in enumerate(target.node) if name in other.output)
    del target.node[place]
    for offset, each in enumerate(nodes):
        target.node.insert(place + offset, each)


def joined_convolution(
    target: onnx.GraphProto, name: str, node: str, branches: Sequence[JoinedBranch], graph: GraphView
) -> list[onnx.NodeProto]:
    """Nodes that compute the channels of all branches by one 1x1 convolution; its constants are added to the graph.

    Args:
        target: gets the constants and shapes.
        name: of the tensor.
        node: name of the convolution.
        branches: in the order of their channels.
        graph: has the branches' inputs.
    """
    sources = list(dict.fromkeys(branch.source for branch in branches))
    widths = {branch.source: branch.weight.shape[1] for branch in branches}
    starts = dict(zip(sources, np.cumsum([0, *(widths[s] for s in sources)])[:-1].tolist(), strict=True))
    weight = np.zeros((sum(len(b.weight) for b in branches), sum(widths.values())))
    row = 0
    for branch in branches:
        first = starts[branch.source]
        weight[row : row + len(branch.weight), first : first + branch.weight.shape[1]] = branch.weight
        row += len(branch.weight)
    bias = np.concatenate([branch.bias for branch in branches])
    target.initializer.append(numpy_helper.from_array(weight[:, :, None, None].astype(np.float32), f"{name}.weight"))
    target.initializer.append(numpy_helper.from_array(bias.astype(np.float32), f"{name}.bias"))
    joined = sources[0]
    nodes = []
    if len(sources) > 1:
        joined = f"{name}.sources"
        nodes.append(helper.make_node("Concat", sources, [joined], name=joined, axis=1))
        shape = list(graph.shape(sources[0]))
        shape[1] = sum(widths.values())
        target.value_info.append(helper.make_tensor_value_info(joined, onnx.TensorProto.FLOAT, shape))
    inputs = [joined, f"{name}.weight", f"{name}.bias"]
    nodes.append(helper.make_node("Conv", inputs, [name], name=node, kernel_shape=[1, 1]))
    return nodes
