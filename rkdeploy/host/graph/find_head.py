"""Search of the head of a foreign graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.anchor_probe import find_anchor_head
from rkdeploy.host.graph.cell_head import find_cell_head
from rkdeploy.host.graph.class_map_probe import map_outputs, with_class_maps
from rkdeploy.host.graph.classifier_probe import is_classifier, with_classifier_head
from rkdeploy.host.graph.decoded_anchors import find_decoded_anchors
from rkdeploy.host.graph.decoded_cells import find_decoded_cells
from rkdeploy.host.graph.embedding_probe import vector_nature, with_embedding_head
from rkdeploy.host.graph.fastest_head import find_fastest_head
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import VECTOR
from rkdeploy.host.graph.head_walk import NO_HEAD, last_convolutions
from rkdeploy.host.graph.map_head_probe import find_map_head
from rkdeploy.host.graph.point_probe import find_point_head
from rkdeploy.host.graph.prior_probe import find_prior_head
from rkdeploy.host.graph.query_probe import find_query_head
from rkdeploy.host.graph.raw_head import find_raw_head
from rkdeploy.host.graph.selected_priors import find_selected_priors
from rkdeploy.host.graph.shared_classes import find_shared_class_head
from rkdeploy.host.graph.text_probe import find_text_head


def find_head(
    graph: GraphView,
    classes: int | None,
    known_maps: Mapping[str, ClassMapSpec] | None = None,
    anchors: int | None = None,
) -> tuple[onnx.ModelProto, Head]:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        classes: number of classes, if a checkpoint gives it.
        anchors: number of anchors on all levels, if the user gives it.
        known_maps: the contract's names of class maps, by the name of the graph's output.

    Returns:
        The graph, in which every tap of the head is a tensor, and the head.

    Raises:
        GraphError: when there is no known one, with the outputs found instead.
    """
    if is_classifier(graph):
        return _vector_head(graph, classes)
    if (of_text := find_text_head(graph)) is not None:
        return of_text
    queries = find_query_head(graph)
    if queries is not None:
        return queries
    if (shared := find_shared_class_head(graph, graph.outputs)) is not None:
        return shared
    if (fastest := find_fastest_head(graph, graph.outputs)) is not None:
        return fastest
    if (of_map := find_map_head(graph)) is not None:
        return of_map
    return graph.model, _detection_head(graph, classes, anchors, known_maps or {})


def _vector_head(graph: GraphView, classes: int | None) -> tuple[onnx.ModelProto, Head]:
    """The head of a graph with one row of numbers; of kind `VECTOR` where nothing shows what they are."""
    nature = "scores" if classes is not None else vector_nature(graph)
    if nature == "embedding":
        return with_embedding_head(graph)
    model, head = with_classifier_head(graph)
    return model, replace(head, kind=VECTOR) if nature == "either" else head


def _detection_head(
    graph: GraphView, classes: int | None, anchors: int | None, known_maps: Mapping[str, ClassMapSpec]
) -> Head:
    """The head of a graph with detections, and its class maps."""
    maps = map_outputs(graph)
    map_names = {found.output for found in maps}
    outputs = [name for name in graph.outputs if name not in map_names]
    if not outputs:
        listed = ", ".join(f"{found.output} {found.shape}" for found in maps)
        raise GraphError(f"The graph has no head: its outputs are only whole-image maps ({listed}).", NO_HEAD)
    head = (
        find_prior_head(graph, outputs)
        or find_selected_priors(graph)
        or find_cell_head(graph, outputs)
        or find_raw_head(graph, outputs)
        or find_decoded_anchors(graph, outputs)
        or _decoded_head(graph, classes, outputs, anchors)
    )
    return with_class_maps(graph, head, maps, known_maps)


def _decoded_head(graph: GraphView, classes: int | None, outputs: Sequence[str], anchors: int | None) -> Head:
    """The head of a graph with its decode."""
    cells = find_decoded_cells(graph, outputs)
    if cells is not None and cells.kind:
        return cells
    ends = [name for name in outputs if len(graph.shape(name)) != 4] or outputs
    strides = [conv.stride for conv in last_convolutions(graph, ends)]
    # An anchor head has one last convolution per level, an anchor-free one has one for boxes and one for scores.
    has_anchors = len(strides) == len(set(strides))
    if has_anchors:
        return cells or find_anchor_head(graph, classes, outputs, anchors)
    try:
        return find_point_head(graph)
    except GraphError:
        if cells is None:
            raise
        return cells
