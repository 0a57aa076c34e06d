"""Numbers for the zeros of Reshape nodes, which mean "as the input has it", and for shapes that are computed.

onnxsim puts a Reshape in front of a product of three dimensions and joins it with one behind, whose zeros then mean
something else (the attention of PP-OCR's recognizers; seen in 0.7.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session


def with_said_reshapes(model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The graph with the shape of every such node as a constant, found by running it once.

    Args:
        model: the graph.
        input_shapes: static shape of each input.

    Returns:
        The graph; unchanged if it has no attention or no such node, or cannot be run.
    """
    graph = GraphView(model)
    if not {"MatMul", "Reshape", "Softmax"} <= {node.op_type for node in model.graph.node}:
        return model
    vague = [node for node in model.graph.node if node.op_type == "Reshape" and _is_vague(graph, node)]
    shapes = _shapes(model, [node.output[0] for node in vague], input_shapes)
    if not shapes:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        shape = shapes.get(node.output[0])
        if node.op_type == "Reshape" and shape is not None:
            constant = numpy_helper.from_array(np.array(shape, np.int64), f"{node.output[0]}/said")
            result.graph.initializer.append(constant)
            node.input[1] = constant.name
    return result


def _is_vague(graph: GraphView, node: onnx.NodeProto) -> bool:
    """True if the shape is computed, or has a zero."""
    target = graph.stored(node.input[1])
    return target is None or not target.all()


def _shapes(
    model: onnx.ModelProto, tensors: Sequence[str], input_shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors without empty axes, by name; none if the graph cannot be run."""
    if not tensors:
        return {}
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = {info.name for info in model.graph.output}
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(t) for t in tensors if t not in given)
    images = {name: np.zeros(tuple(shape), np.float32) for name, shape in input_shapes.items()}
    try:
        found = Session(shown, optimized=False).run(images)
    except GraphError:
        return {}
    return {name: found[name].shape for name in tensors if found[name].size}
