"""Choice among the tables of several heads: YOLOv9's own exporter writes one output per head of a model as trained.

All have a row for each cell and the same columns.  The last is that of the lead head, which its detect_dual.py and
val_triple.py read; the others are of auxiliary heads, which serve training.
"""

from __future__ import annotations

import onnx

from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_facts import facts_of
from rkdeploy.host.graph.graph_view import GraphView


def lead_output(model: onnx.ModelProto) -> str:
    """Name of the last of several outputs that are alike, a table with a row for each cell; empty for other graphs.

    Args:
        model: simplified, with static shapes.
    """
    graph = GraphView(model)
    shapes = {graph.shape(name) for name in graph.outputs}
    shape = shapes.pop()
    if shapes or len(graph.outputs) < 2 or len(shape) != 3 or shape[0] != 1:
        return ""
    return graph.outputs[-1] if facts_of(graph).cells in shape[1:] else ""


def with_output_alone(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The part of a model that one of its outputs needs."""
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    kept = [info for info in model.graph.output if info.name == name]
    others = [info for info in model.graph.output if info.name != name]
    del alone.graph.output[:]
    alone.graph.output.extend(kept)
    alone.graph.value_info.extend(others)  # their shapes, where the output is computed from them
    prune(alone.graph)
    return alone
