"""The model's anchors and the published ones, centered on each other, one panel per level, each with its own scale."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.analysis.page.plots.svg import Svg
from rkdeploy.analysis.report.model_report import LevelAnchors

_WIDTH, _TOP, _GAP = 960, 30, 20
_HEIGHT = 230


def anchor_plot(levels: Sequence[LevelAnchors], headings: Sequence[str]) -> Svg:
    """Rectangles of width by height: solid the model's, dashed the published ones.

    Args:
        levels: finest first.
        headings: one per level.
    """
    count = max(len(levels), 1)
    panel = (_WIDTH - _GAP * (count - 1)) / count
    svg = Svg(_WIDTH, _TOP + _HEIGHT + 2)
    for index, (level, heading) in enumerate(zip(levels, headings, strict=True)):
        left = index * (panel + _GAP)
        svg.rect(left, _TOP, panel, _HEIGHT, "panel")
        svg.text(left, _TOP - 10, heading, "strong")
        both = (*level.own_px, *level.published_px)
        widest, highest = max((wh[0] for wh in both), default=1.0), max((wh[1] for wh in both), default=1.0)
        scale = min((panel - 16) / max(widest, 1e-6), (_HEIGHT - 16) / max(highest, 1e-6))
        cx, cy = left + panel / 2, _TOP + _HEIGHT / 2
        for anchors, kind in ((level.published_px, "anchor published"), (level.own_px, "anchor own")):
            for width, high in anchors:
                svg.rect(cx - width * scale / 2, cy - high * scale / 2, width * scale, high * scale, kind)
    return svg
