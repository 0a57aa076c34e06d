"""Finds the head of Yolo-FastestV2, whose anchors share the classes of their cell, as an anchor head.

Boxes, objectness and classes come from three 1x1 convolutions per level.  One convolution takes their place, with the
channels of an anchor side by side and the classes once for each anchor; the graph's own outputs are picked out of its
channels, so that the proof of outputs covers it.  Source: dog-qiuqiu/Yolo-FastestV2, utils/utils.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head, Tap
from rkdeploy.host.graph.head_kinds import SHARED
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions
from rkdeploy.host.graph.joined_heads import JoinedBranch, branch_of, joined_convolution
from rkdeploy.host.graph.node_order import sort_nodes

ANCHORS = 3
"""Of a cell."""
_BOX = 4
_MAX_LEVELS = 8


@dataclass(frozen=True, slots=True)
class _SharedLevel:
    """The convolutions of a level."""

    boxes: HeadConv
    objectness: HeadConv
    classes: HeadConv

    @property
    def parts(self) -> tuple[HeadConv, HeadConv, HeadConv]:
        return self.boxes, self.objectness, self.classes

    @property
    def channels(self) -> tuple[list[int], list[int], list[int]]:
        """Place of each part's channels in the joined map: of the classes those of the first anchor."""
        fields = _BOX + 1 + self.classes.shape[1]
        boxes = [anchor * fields + place for anchor in range(ANCHORS) for place in range(_BOX)]
        return boxes, [anchor * fields + _BOX for anchor in range(ANCHORS)], list(range(_BOX + 1, fields))


def shared_levels(convs: Sequence[HeadConv]) -> tuple[_SharedLevel, ...]:
    """The levels by what their convolutions hold, finest first; empty where they are another head's.

    Args:
        convs: the last convolutions.
    """
    strides = sorted({conv.stride for conv in convs})
    if not 1 < len(strides) <= _MAX_LEVELS or len(convs) != 3 * len(strides):
        return ()
    levels = []
    for stride in strides:
        by_width = {conv.shape[1]: conv for conv in convs if conv.stride == stride}
        others = [width for width in by_width if width not in (ANCHORS, _BOX * ANCHORS)]
        if len(by_width) != 3 or len(others) != 1 or others[0] == 10 * ANCHORS:  # the last: SCRFD's landmarks
            return ()
        levels.append(_SharedLevel(by_width[_BOX * ANCHORS], by_width[ANCHORS], by_width[others[0]]))
    return tuple(levels) if len({level.classes.shape[1] for level in levels}) == 1 else ()


def find_shared_class_head(graph: GraphView, outputs: Sequence[str]) -> tuple[onnx.ModelProto, Head] | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        The graph with one convolution per level, and the head; None when the graph has no such head.

    Raises:
        GraphError: when it has one of other convolutions.
    """
    try:
        levels = shared_levels(last_convolutions(graph, outputs))
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if not levels:
        return None
    branches = [[branch_of(graph, part.tensor) for part in level.parts] for level in levels]
    found = [[branch for branch in three if branch is not None] for three in branches]
    if any(len(three) < len(level.parts) for three, level in zip(found, levels, strict=True)):
        raise GraphError("The last convolutions of boxes, objectness and classes are not 1x1 ones.")
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    taps = []
    for number, (level, three) in enumerate(zip(levels, found, strict=True)):
        name = f"{level.boxes.tensor}.anchors"
        _join(result.graph, graph, level, three, name)
        shape = (1, ANCHORS * (_BOX + 1 + level.classes.shape[1]), *level.boxes.shape[2:])
        taps.append(Tap(level.boxes.node, name, "anchor_map", shape, level.boxes.stride, number))
    prune(result.graph)
    classes = levels[0].classes.shape[1]
    head = Head(
        tuple(taps),
        classes,
        anchors_per_level=ANCHORS,
        anchor_formula=AnchorFormula(classes="softmax"),
        kind=SHARED,
    )
    return onnx.shape_inference.infer_shapes(result, data_prop=True), head


def _join(
    target: onnx.GraphProto, graph: GraphView, level: _SharedLevel, branches: Sequence[JoinedBranch], name: str
) -> None:
    """Compute a level's map by one convolution, and the three maps by picking its channels."""
    boxes, objectness, classes = branches
    rows: list[JoinedBranch] = []
    for anchor in range(ANCHORS):
        own = slice(_BOX * anchor, _BOX * (anchor + 1))
        rows.append(JoinedBranch(boxes.source, boxes.weight[own], boxes.bias[own]))
        rows.append(JoinedBranch(objectness.source, objectness.weight[[anchor]], objectness.bias[[anchor]]))
        rows.append(classes)
    nodes = joined_convolution(target, name, level.boxes.node, rows, graph)
    for part, channels in zip(level.parts, level.channels, strict=True):
        places = f"{part.tensor}.channels"
        target.initializer.append(numpy_helper.from_array(np.array(channels, np.int64), places))
        nodes.append(helper.make_node("Gather", [name, places], [part.tensor], name=places, axis=1))
    old = {part.tensor for part in level.parts}
    kept = [node for node in target.node if not old.intersection(node.output)]
    del target.node[:]
    target.node.extend([*kept, *nodes])
    sort_nodes(target)
