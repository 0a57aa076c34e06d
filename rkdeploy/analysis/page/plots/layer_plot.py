"""Time, memory and weights along the network: three lanes over the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.page.plots.scales import linear, short
from rkdeploy.analysis.page.plots.svg import NARROW_PX, WIDE_PX, Svg

_RIGHT, _GAP, _TOP = 12, 54, 26
LIMITS = ("compute", "memory", "activation", "attention")


@dataclass(frozen=True, slots=True)
class Bar:
    """One layer's value in a lane: `kind` chooses color and hatching, `title` shows under the pointer."""

    value: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane: its heading, its unit's factor and its bars, one per layer."""

    heading: str
    bars: Sequence[Bar]


def along_the_network(lanes: Sequence[Lane], numbers: Sequence[int], axis: str, width: int = WIDE_PX) -> Svg:
    """The lanes below each other.

    Args:
        lanes: with as many bars as there are layers.
        numbers: of the layers.
        axis: what stands below.
        width: of the drawing.
    """
    narrow = width <= NARROW_PX
    left, lane_px = (40, 100) if narrow else (64, 150)
    height = _TOP + len(lanes) * (lane_px + _GAP)
    svg = Svg(width, height)
    count = max(len(numbers), 1)
    step = (width - left - _RIGHT) / count
    for index, lane in enumerate(lanes):
        top = _TOP + index * (lane_px + _GAP)
        scale = linear([bar.value for bar in lane.bars], top + lane_px, top)
        svg.text(left, top - 9, lane.heading, "strong")
        for tick in scale.ticks(4):
            svg.line(left, scale(tick), width - _RIGHT, scale(tick), "grid" if tick else "axis")
            svg.text(left - 7, scale(tick) + 4, short(tick), "soft", "end")
        for position, bar in enumerate(lane.bars):
            if bar.value > 0:
                y = scale(bar.value)
                bar_px = max(step * 0.82, 0.8)
                svg.rect(left + position * step + step * 0.09, y, bar_px, top + lane_px - y, bar.kind, bar.title)
        for position in _ticks(len(numbers), 6 if narrow else 12):
            x = left + (position + 0.5) * step
            svg.text(x, top + lane_px + 16, str(numbers[position]), "soft", "middle")
    svg.text(width - _RIGHT, height - 4, axis, "soft", "end")
    return svg


def _ticks(count: int, most: int) -> range:
    return range(0, count, max(1, -(-count // most)))
