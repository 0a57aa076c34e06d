"""Hard swish written out as x * clip(x + 3, 0, 6) / 6, as Paddle's exporter does: made a HardSigmoid and a product.

The other rewrites know it in that form, `depthwise_parts` among them; for the toolkit the two are equal.
`verify` proves the result.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView

_SHIFT, _TOP = 3.0, 6.0


def with_hard_sigmoids(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with HardSigmoid in place of the steps; unchanged if it has none.

    Args:
        model: a simplified graph.
    """
    graph = GraphView(model)
    found = {div.output[0]: x for div in model.graph.node if (x := _argument(graph, div))}
    if not found:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = node.output[0]
        if name not in found:
            nodes.append(node)
            continue
        gate = f"{name}.gate"
        gated = helper.make_node("HardSigmoid", [found[name]], [gate], name=gate, alpha=1 / _TOP, beta=_SHIFT / _TOP)
        nodes += [gated, helper.make_node("Mul", [found[name], gate], [name], name=node.name or name)]
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    prune(changed.graph)
    return onnx.shape_inference.infer_shapes(changed, data_prop=True)


def _argument(graph: GraphView, div: onnx.NodeProto) -> str:
    """Name of x where a node is the last step of x * clip(x + 3, 0, 6) / 6; empty for another node."""
    if div.op_type != "Div" or not _is(graph, div.input[1], _TOP):
        return ""
    product = graph.producer(div.input[0])
    if product is None or product.op_type != "Mul":
        return ""
    sides = (product.input[0], product.input[1])
    return next((x for x, other in (sides, sides[::-1]) if _is_clipped_sum(graph, other, x)), "")


def _is_clipped_sum(graph: GraphView, name: str, x: str) -> bool:
    """True if a tensor is clip(x + 3, 0, 6)."""
    clip = graph.producer(name)
    if clip is None or clip.op_type != "Clip" or len(clip.input) != 3:
        return False
    added = graph.producer(clip.input[0])
    if added is None or added.op_type != "Add" or added.input[0] != x or not _is(graph, added.input[1], _SHIFT):
        return False
    return _is(graph, clip.input[1], 0.0) and _is(graph, clip.input[2], _TOP)


def _is(graph: GraphView, name: str, number: float) -> bool:
    """True if a tensor is that one constant."""
    value = graph.stored(name)
    return value is not None and value.size == 1 and bool(np.float32(value.ravel()[0]) == np.float32(number))
