"""Heads of graphs that end in raw tensors: roles by activation if shapes are ambiguous."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.errors import GraphError
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.kind_graphs import KindGraph


def fork(boxes: int, classes: int, *, scores_first: bool = False, whole: bool = False) -> KindGraph:
    """Boxes, scores and the clipped sum of the scores of three levels, or both concatenated without a sigmoid."""
    graph = KindGraph()
    limits = [graph.constant(np.float32(n)) for n in (0, 1)]
    axis = graph.constant(np.array([1]))
    for stride in (8, 16, 32):
        box, logits = graph.conv(stride, boxes), graph.conv(stride, classes)
        if whole:
            graph.show(graph.node("Concat", *((logits, box) if scores_first else (box, logits)), axis=1))
            continue
        scores = graph.node("Sigmoid", logits)
        graph.show(*((scores, box) if scores_first else (box, scores)))
        graph.show(graph.node("Clip", graph.node("ReduceSum", scores, axis, keepdims=1), *limits))
    return graph


def head_of(graph: KindGraph) -> Head:
    return find_supported_head(simplify(graph.model()), None)[1]


@pytest.mark.parametrize("scores_first", [False, True])
@pytest.mark.parametrize(("boxes", "classes"), [(64, 1), (64, 64), (4, 4), (4, 80), (68, 68), (64, 4)])
def test_roles(boxes: int, classes: int, scores_first: bool) -> None:
    """As many classes as bins or sides, and one class whose sum is its score, leave no doubt about the roles."""
    head = head_of(fork(boxes, classes, scores_first=scores_first))
    role = "ltrb_boxes" if boxes == 4 else "dfl_boxes"
    assert [(t.role, t.shape[1], t.stride) for t in head.taps if t.level == 0] == [
        (role, boxes, 8),
        ("scores", classes, 8),
    ]
    assert (head.classes, len(head.taps)) == (classes, 6)
    assert not head.proves_decode


@pytest.mark.parametrize("classes", [4, 15])
@pytest.mark.parametrize("scores_first", [False, True])
def test_concatenated(classes: int, scores_first: bool) -> None:
    """In one map per level without a sigmoid the usual number of bins tells the boxes, in either order."""
    head = head_of(fork(64, classes, scores_first=scores_first, whole=True))
    assert [t.role for t in head.taps if t.level == 2] == ["dfl_boxes", "scores"]
    assert head.classes == classes


def test_levels_that_differ() -> None:
    """Another number of classes on one level is not a head."""
    graph = fork(64, 3)
    graph.show(graph.conv(4, 64), graph.node("Sigmoid", graph.conv(4, 5)))
    with pytest.raises(GraphError):
        head_of(graph)


def test_two_sigmoids() -> None:
    """Two tensors of probabilities per level, and none that could be boxes, are not a head."""
    graph = KindGraph()
    for stride in (8, 16):
        graph.show(*(graph.node("Sigmoid", graph.conv(stride, n)) for n in (64, 3)))
    with pytest.raises(GraphError):
        head_of(graph)
