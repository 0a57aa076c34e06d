"""Removal of suppression from the end of a graph: its outputs become the boxes and scores that are suppressed.

The board suppresses by itself.  What exporters write behind a suppression (gathered rows, counts, lists of free length)
has nothing of the network, and not every runtime opens it.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView

_OPERATOR = "NonMaxSuppression"  # inputs: boxes (1, n, 4), scores (1, nc, n), three limits


def without_suppression(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with boxes and scores as outputs in place of those that depend on a suppression.

    Unchanged if there is no suppression, or if it is in a branch or a loop.

    Args:
        model: the graph.
    """
    graph = GraphView(model)
    behind: set[str] = set()
    given: list[str] = []
    for node in model.graph.node:
        if node.op_type == _OPERATOR and behind.isdisjoint(node.input):
            given += [name for name in node.input[:2] if name in graph.producers]
        if node.op_type == _OPERATOR or not behind.isdisjoint(node.input):
            behind.update(name for name in node.output if name)
    if not given:
        return model
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    kept = [info for info in alone.graph.output if info.name not in behind]
    del alone.graph.output[:]
    alone.graph.output.extend(kept)
    shown = {info.name for info in kept}
    for name in dict.fromkeys(given):
        if name not in shown:
            alone.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3))
    prune(alone.graph)
    return alone
