"""The kind of a graph: its head if it builds, its name if it does not."""

from __future__ import annotations

import onnx

from rkdeploy.errors import GraphError
from rkdeploy.host.families import yolop
from rkdeploy.host.graph.find_head import find_head
from rkdeploy.host.graph.graph_facts import facts_of
from rkdeploy.host.graph.graph_kinds import kind_among, refusal
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.input_kinds import INPUTS
from rkdeploy.host.graph.misread_kinds import MISREAD
from rkdeploy.host.graph.suppression import left_out
from rkdeploy.host.graph.unread_kinds import SUPPRESSED, UNREAD


def require_image_model(model: onnx.ModelProto) -> None:
    """Check that a graph's inputs are those of an image model.

    Raises:
        GraphError: naming the kind of model that it is.
    """
    facts = facts_of(GraphView(model))
    kind = kind_among(INPUTS, facts)
    if kind is not None:
        raise refusal(kind, facts, by_inputs=True)


def require_no_suppression(model: onnx.ModelProto) -> None:
    """Check that a graph whose head is not known did not end in a suppression of its own, which was left out.

    Raises:
        GraphError: naming it as the reason.
    """
    if left_out(model):
        raise refusal(SUPPRESSED, facts_of(GraphView(model)))


def find_supported_head(
    simplified: onnx.ModelProto, classes: int | None, anchors: int | None = None
) -> tuple[onnx.ModelProto, Head]:
    """Find the head of a simplified graph with static shapes; see `find_head`.

    Raises:
        GraphError: when there is no known one, naming the kind of model if its shapes show it.
    """
    graph = GraphView(simplified)
    facts = facts_of(graph)
    kind = kind_among(MISREAD, facts)
    if kind is not None:
        raise refusal(kind, facts)
    try:
        return find_head(graph, classes, yolop.CLASS_MAPS, anchors)
    except GraphError as error:
        kind = kind_among(UNREAD, facts)
        if kind is None:
            raise
        raise refusal(kind, facts) from error
