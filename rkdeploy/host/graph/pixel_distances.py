"""Four distances per cell that a graph multiplies with the stride, where nothing is decoded behind them: RTMDet's.

onnxsim folds such a factor into the convolution, after which nothing shows it.  So it is looked for before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head


def with_pixel_distances(head: Head, before: onnx.ModelProto) -> Head:
    """The head with distances in pixels, if the graph before its simplification makes pixels of them.

    Args:
        head: as it was found in the simplified graph.
        before: the graph before that.
    """
    boxes = [tap for tap in head.taps if tap.role == "ltrb_boxes"]
    if head.kind or head.rows is not None or not boxes:
        return head
    graph = GraphView(before)
    if not all(_is_multiplied(graph, tap.node, tap.tensor, tap.stride) for tap in boxes):
        return head
    return replace(head, kind="rtmdet", points=PointFormula(0.0, distance="pixels"))


def _is_multiplied(graph: GraphView, node: str, tensor: str, stride: int) -> bool:
    """True if a convolution's output, or the tensor that replaced it, is that times the stride."""
    conv = next((n for n in graph.model.graph.node if n.op_type == "Conv" and (n.name or n.output[0]) == node), None)
    names = {tensor} if conv is None else {tensor, conv.output[0]}
    products = [n for n in graph.model.graph.node if n.op_type == "Mul" and names.intersection((*n.input, *n.output))]
    factors = [graph.stored(name) for n in products for name in n.input]
    return any(f is not None and f.size == 1 and np.float32(f.ravel()[0]) == stride for f in factors)
