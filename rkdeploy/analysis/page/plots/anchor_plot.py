"""The model's anchors and the published ones, centered on each other, one panel per level, each with its own scale."""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.analysis.page.plots.svg import NARROW_PX, WIDE_PX, Svg
from rkdeploy.analysis.report.model_report import LevelAnchors

_TOP, _GAP = 30, 20
_HEIGHT = 230


def anchor_plot(levels: Sequence[LevelAnchors], headings: Sequence[str], width: int = WIDE_PX) -> Svg:
    """Rectangles of width by height: solid the model's, dashed the published ones.

    Args:
        levels: finest first.
        headings: one per level.
        width: of the drawing; in a narrow one the panels are below each other.
    """
    count = max(len(levels), 1)
    narrow = width <= NARROW_PX
    panel_w, panel_h = (width - 2.0, 160) if narrow else ((width - _GAP * (count - 1)) / count, _HEIGHT)
    svg = Svg(width, (_TOP + panel_h) * (count if narrow else 1) + 2)
    for index, (level, heading) in enumerate(zip(levels, headings, strict=True)):
        left, top = (1.0, index * (_TOP + panel_h)) if narrow else (index * (panel_w + _GAP), 0)
        svg.text(left, top + _TOP - 10, heading, "strong")
        _draw_panel(svg, level, (left, top + _TOP, panel_w, panel_h))
    return svg


def _draw_panel(svg: Svg, level: LevelAnchors, panel: tuple[float, float, float, float]) -> None:
    """Draw the anchors of a level, centered in a panel: its left and upper edges, width and height."""
    left, top, wide, high = panel
    svg.rect(left, top, wide, high, "panel")
    both = (*level.own_px, *level.published_px)
    widest, highest = max((wh[0] for wh in both), default=1.0), max((wh[1] for wh in both), default=1.0)
    scale = min((wide - 16) / max(widest, 1e-6), (high - 16) / max(highest, 1e-6))
    cx, cy = left + wide / 2, top + high / 2
    for anchors, kind in ((level.published_px, "anchor published"), (level.own_px, "anchor own")):
        for width_px, height_px in anchors:
            box_w, box_h = width_px * scale, height_px * scale
            svg.rect(cx - box_w / 2, cy - box_h / 2, box_w, box_h, kind)
