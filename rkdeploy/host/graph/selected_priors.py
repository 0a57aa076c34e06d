"""Finds SSD's head in a graph that goes on behind it with a selection of its own: torchvision's detectors, exported
whole.

The shares of all classes are the output of a softmax, the boxes are a tensor of as many rows.  Each pair of such
tensors is read as if the graph ended in them; it counts if the boxes are decoded there, and by SSD's formula.
"""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.prior_probe import find_prior_head

_SELECTING = frozenset({"NonZero", "TopK", "NonMaxSuppression"})
_MAX_PAIRS = 24
_LEAST_ROWS = 64  # of boxes of all cells; a softmax of fewer rows is another one


def find_selected_priors(graph: GraphView) -> Head | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.

    Returns:
        None for a graph without a selection, or without such a head.
    """
    if _SELECTING.isdisjoint(node.op_type for node in graph.model.graph.node):
        return None
    for _, (boxes, shares) in zip(range(_MAX_PAIRS), _pairs(graph), strict=False):
        head = find_prior_head(graph, [boxes, shares])
        if head is not None and head.rows is not None:
            return head
    return None


def _pairs(graph: GraphView) -> Iterator[tuple[str, str]]:
    """Tensors of four columns and a softmax of as many rows, the last of the graph first."""
    made = [name for node in graph.model.graph.node for name in node.output]
    for node in reversed(graph.model.graph.node):
        if node.op_type != "Softmax":
            continue
        *outer, rows, classes = (0, *graph.shape(node.output[0]))
        if rows < _LEAST_ROWS or classes < 2 or any(n not in (0, 1) for n in outer):
            continue
        for name in reversed(made):
            shape = graph.shape(name)
            if len(shape) in (2, 3) and shape[-1] == 4 and shape[-2] == rows:
                yield name, node.output[0]
