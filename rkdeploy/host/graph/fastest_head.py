"""Finds FastestDet's head: objectness, box and shares of the classes of each cell of one level, side by side.

It becomes an anchor head of one anchor, the whole input: with s = sigmoid(2 raw), tanh(raw) is 2 s - 1.  One 1x1
convolution takes the place of three, with the centers' weights doubled, and the graph's own output is picked out of its
channels, so that the proof of outputs covers it.  Source: dog-qiuqiu/FastestDet, utils/tool.py and
module/custom_layers.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head, Tap
from rkdeploy.host.graph.head_kinds import FASTEST, FASTEST_FORMULA
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.joined_heads import JoinedBranch, branch_of, joined_convolution
from rkdeploy.host.graph.node_order import sort_nodes
from rkdeploy.host.graph.session import Session

_BOX = 4
_FOLLOWS = 1e-5
_GAINS = np.array([2.0, 2.0, 1.0, 1.0])
"""Of the raw box in the joined map."""


def fastest_parts(graph: GraphView, outputs: Sequence[str]) -> tuple[HeadConv, HeadConv, HeadConv] | None:
    """The convolutions of objectness, boxes and classes; None where the output is another one.

    Args:
        graph: simplified, with static shapes.
        outputs: those of the head.
    """
    try:
        convs = last_convolutions(graph, outputs)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if len(outputs) != 1 or len(convs) != 3 or len({conv.stride for conv in convs}) > 1:
        return None
    if graph.shape(outputs[0]) != (1, sum(conv.shape[1] for conv in convs), *convs[0].shape[2:]):
        return None
    rng = np.random.default_rng(0)
    noise = {conv.tensor: rng.uniform(-3, 3, conv.shape).astype(np.float32) for conv in convs}
    try:
        shown = Session(tail(graph, convs, outputs[0])).run(noise)[outputs[0]]
    except GraphError:
        return None
    for objectness, boxes, classes in permutations(convs):
        if (objectness.shape[1], boxes.shape[1]) != (1, _BOX):
            continue
        powers = np.exp(noise[classes.tensor])
        parts = (1 / (1 + np.exp(-noise[objectness.tensor])), noise[boxes.tensor], powers / powers.sum(axis=1))
        if np.abs(np.concatenate(parts, axis=1) - shown).max() <= _FOLLOWS:
            return objectness, boxes, classes
    return None


def find_fastest_head(graph: GraphView, outputs: Sequence[str]) -> tuple[onnx.ModelProto, Head] | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        The graph with one convolution in place of three, and the head; None when the graph has no such head.
    """
    parts = fastest_parts(graph, outputs)
    if parts is None:
        return None
    branches = [branch for part in parts if (branch := branch_of(graph, part.tensor)) is not None]
    if len(branches) < len(parts):
        return None
    _, boxes, classes = parts
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    name = f"{boxes.tensor}.anchors"
    _join(result.graph, graph, parts, branches, name)
    prune(result.graph)
    count = classes.shape[1]
    tap = Tap(boxes.node, name, "anchor_map", (1, _BOX + 1 + count, *boxes.shape[2:]), boxes.stride)
    head = Head((tap,), count, anchors_per_level=1, anchor_formula=FASTEST_FORMULA, kind=FASTEST)
    return onnx.shape_inference.infer_shapes(result, data_prop=True), head


def _join(
    target: onnx.GraphProto, graph: GraphView, parts: Sequence[HeadConv], branches: Sequence[JoinedBranch], name: str
) -> None:
    """Compute box, objectness and classes by one convolution, and the three maps out of its channels."""
    objectness, boxes, classes = branches
    doubled = JoinedBranch(boxes.source, boxes.weight * _GAINS[:, None], boxes.bias * _GAINS)
    nodes = joined_convolution(target, name, parts[1].node, (doubled, objectness, classes), graph)
    channels = ([_BOX], list(range(_BOX)), list(range(_BOX + 1, _BOX + 1 + len(classes.weight))))
    for part, places in zip(parts, channels, strict=True):
        chosen = f"{part.tensor}.channels"
        target.initializer.append(numpy_helper.from_array(np.array(places, np.int64), chosen))
        picked = f"{part.tensor}.picked" if part is parts[1] else part.tensor
        nodes.append(helper.make_node("Gather", [name, chosen], [picked], name=chosen, axis=1))
    gains = f"{parts[1].tensor}.gains"
    halves = (1 / _GAINS).astype(np.float32).reshape(1, _BOX, 1, 1)
    target.initializer.append(numpy_helper.from_array(halves, gains))
    nodes.append(helper.make_node("Mul", [f"{parts[1].tensor}.picked", gains], [parts[1].tensor], name=gains))
    old = {part.tensor for part in parts}
    kept = [node for node in target.node if not old.intersection(node.output)]
    del target.node[:]
    target.node.extend([*kept, *nodes])
    sort_nodes(target)
