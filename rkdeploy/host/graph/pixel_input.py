"""Graphs that take images of bytes, (N, 3, H, W) uint8, and prepare them themselves, as super-gradients exports them.

The toolkit takes images of floating-point numbers and divides them itself, so the input becomes one of those, and its
cast and the division by one number behind it are left out.  Such a graph says how its images are prepared.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from rkdeploy.host.graph.graph_view import GraphView

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})


def with_float_input(model: onnx.ModelProto) -> tuple[onnx.ModelProto, float]:
    """The model with an input of floating-point numbers in place of bytes.

    Args:
        model: the graph.

    Returns:
        The changed model, and what its pixels, 0 to 255, are divided by before they are given to it.  The model as it
        is and 0 if its input is of another type, or something other than one cast reads it.
    """
    graph = GraphView(model)
    inputs = list(graph.inputs.values())
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.UINT8:
        return model, 0.0
    readers = graph.consumers(inputs[0].name)
    if len(readers) != 1 or not _casts_to_float(readers[0]):
        return model, 0.0
    dropped, divisor = [readers[0].output[0]], 1.0
    behind = graph.consumers(readers[0].output[0])
    if len(behind) == 1 and (found := _divisor(graph, behind[0], dropped[0])) > 0:
        dropped.append(behind[0].output[0])
        divisor = found
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for info in changed.graph.input:
        if info.name == inputs[0].name:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in changed.graph.node:
        if node.output[0] in dropped:
            node.op_type = "Identity"
            del node.attribute[:]
            del node.input[1:]
    return changed, divisor


def _casts_to_float(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i in _FLOATS for a in node.attribute)


def _divisor(graph: GraphView, node: onnx.NodeProto, pixels: str) -> float:
    """The number that a node divides the pixels by, 0 for another node."""
    if node.op_type not in ("Div", "Mul") or node.input[0] != pixels:
        return 0.0
    value = graph.stored(node.input[1])
    if value is None or value.size != 1 or not np.isfinite(value).all() or value.ravel()[0] <= 0:
        return 0.0
    number = float(value.ravel()[0])
    return number if node.op_type == "Div" else 1 / number
