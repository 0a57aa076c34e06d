"""Anchors of a graph and of its checkpoint, which must be the same."""

from __future__ import annotations

import numpy as np

from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.building.network import describe_anchors
from rkdeploy.host.building.raw_outputs import NOT_A_PAIR
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.graph.head import Head

_ANCHOR_TOLERANCE = 1e-3  # px, for anchors that went through float32 decode arithmetic
_HALF_TOLERANCE = 2e-3  # relative, for anchors that an exporter stored as float16


def require_same_levels(head: Head, info: ModelInfo) -> None:
    """The graph's levels must be the checkpoint's before anything on them can be compared.

    Raises:
        GraphError: when strides or the number of anchors differ.
    """
    strides = tuple(dict.fromkeys(tap.stride for tap in head.taps if not tap.name))
    expected = tuple(sorted(info.strides))
    if strides != expected:
        raise GraphError(
            f"The ONNX graph's head has strides {strides}, expected {expected} from the checkpoint.", NOT_A_PAIR
        )
    per_level = finest_first(info).per_level if info.anchors is not None else 0
    if head.anchors_per_level != per_level:
        raise GraphError(
            f"The ONNX graph's head has {head.anchors_per_level} anchors per level, expected {per_level} from the "
            "checkpoint.",
            NOT_A_PAIR,
        )


def agreed_anchors(head: Head, info: ModelInfo | None) -> tuple[Anchors | None, str | None]:
    """The checkpoint's anchors where there is one, which must then be the graph's too; None for anchor-free heads."""
    in_graph = head.anchors
    if head.prior_formula is not None:
        return in_graph, "graph" if in_graph is not None else None
    if not head.anchors_per_level:
        return None, None
    if info is None:
        return in_graph, "graph"
    anchors = finest_first(info)
    if in_graph is not None:
        own, graph = (np.array(a.levels_px, np.float64) for a in (anchors, in_graph))
        if (np.abs(own - graph) > _ANCHOR_TOLERANCE + _HALF_TOLERANCE * own).any():
            raise GraphError(
                f"The ONNX graph and the checkpoint have different anchors (px).\n"
                f"  checkpoint: {describe_anchors(anchors)}\n  graph:      {describe_anchors(in_graph)}",
                "They are of different models, or the graph was exported before autoanchor chose new ones: "
                "give the checkpoint that the graph was exported from.",
            )
        if (np.abs(own - graph) > _ANCHOR_TOLERANCE).any():
            # Exported as float16: this graph decodes with the rounded anchors, and so must we.
            return in_graph, "graph, as the checkpoint's rounded to float16"
    return anchors, "checkpoint"


def finest_first(info: ModelInfo) -> Anchors:
    """The checkpoint's anchors in the order of the contract's levels, whatever the order of its head's inputs."""
    assert info.anchors is not None
    return Anchors(
        tuple(level for _, level in sorted(zip(info.strides, info.anchors.levels_px, strict=True), key=lambda p: p[0]))
    )
