"""The anchors of a model next to the published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.analysis.report.model_report import AnchorFacts, LevelAnchors
from rkdeploy.host.families.anchor_defaults import compare_anchors, published_anchors

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec


def anchor_facts(spec: ModelSpec) -> AnchorFacts | None:
    """Anchors next to the published ones; None for a model without."""
    if spec.anchors is None:
        return None
    known = compare_anchors(spec.anchors, spec.family)
    published = published_anchors(spec.anchors, spec.family)
    strides = {output.level: output.stride for output in spec.outputs if output.role.startswith("anchor_")}
    levels = tuple(
        LevelAnchors(strides.get(i, 0), own, published.levels_px[i] if published else ())
        for i, own in enumerate(spec.anchors.levels_px)
    )
    return AnchorFacts(levels, known.data_set, known.are_defaults, known.largest_ratio)
