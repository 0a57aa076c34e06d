"""Time, memory and weights along the network: three lanes over the same layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.page.plots.scales import linear, short
from rkdeploy.analysis.page.plots.svg import Svg

_WIDTH, _LEFT, _RIGHT, _LANE, _GAP, _TOP = 960, 64, 12, 150, 54, 26
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


def along_the_network(lanes: Sequence[Lane], numbers: Sequence[int], axis: str) -> Svg:
    """The lanes below each other.

    Args:
        lanes: with as many bars as there are layers.
        numbers: of the layers.
        axis: what stands below.
    """
    height = _TOP + len(lanes) * (_LANE + _GAP)
    svg = Svg(_WIDTH, height)
    count = max(len(numbers), 1)
    step = (_WIDTH - _LEFT - _RIGHT) / count
    for index, lane in enumerate(lanes):
        top = _TOP + index * (_LANE + _GAP)
        scale = linear([bar.value for bar in lane.bars], top + _LANE, top)
        svg.text(_LEFT, top - 9, lane.heading, "strong")
        for tick in scale.ticks(4):
            svg.line(_LEFT, scale(tick), _WIDTH - _RIGHT, scale(tick), "grid" if tick else "axis")
            svg.text(_LEFT - 7, scale(tick) + 4, short(tick), "soft", "end")
        for position, bar in enumerate(lane.bars):
            if bar.value > 0:
                y = scale(bar.value)
                width = max(step * 0.82, 0.8)
                svg.rect(_LEFT + position * step + step * 0.09, y, width, top + _LANE - y, bar.kind, bar.title)
        for position in _ticks(len(numbers)):
            x = _LEFT + (position + 0.5) * step
            svg.text(x, top + _LANE + 16, str(numbers[position]), "soft", "middle")
    svg.text(_WIDTH - _RIGHT, height - 4, axis, "soft", "end")
    return svg


def _ticks(count: int) -> range:
    return range(0, count, max(1, -(-count // 12)))
