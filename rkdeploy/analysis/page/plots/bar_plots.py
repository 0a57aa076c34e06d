"""Horizontal bars: classes, stages, parts of a time, and rates by contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.page.plots.scales import Scale, linear, short
from rkdeploy.analysis.page.plots.svg import Svg, shortened, text_width

_WIDTH, _RIGHT = 960, 76
_MOST_LABEL = 260.0


@dataclass(frozen=True, slots=True)
class Group:
    """A label and its bars, as many as there are series; None leaves one out."""

    label: str
    values: Sequence[float | None]


def grouped_bars(
    groups: Sequence[Group], kinds: Sequence[str], *, high: float | None = None, digits: int = 3, unit: str = ""
) -> Svg:
    """Bars side by side.

    Args:
        groups: what stands at the left.
        kinds: of the series, which choose color and hatching.
        high: end of the axis; None for a round number above the largest value.
        digits: behind the point of the numbers at the bars.
        unit: of the numbers, behind them.
    """
    bar, gap, top = 13, 9, 8
    label = min(_MOST_LABEL, max((text_width(g.label) for g in groups), default=40.0)) + 18
    row = bar * len(kinds) + gap
    height = top + row * len(groups) + 24
    svg = Svg(_WIDTH, height)
    values = [v for g in groups for v in g.values if v is not None]
    x = Scale(0.0, high, label, _WIDTH - _RIGHT) if high else linear(values, label, _WIDTH - _RIGHT)
    for tick in x.ticks():
        svg.line(x(tick), top, x(tick), height - 22, "grid" if tick else "axis")
        svg.text(x(tick), height - 6, short(tick), "soft", "middle")
    for index, group in enumerate(groups):
        y = top + index * row + gap / 2
        svg.text(label - 9, y + bar * len(kinds) / 2 + 4.5, shortened(group.label, _MOST_LABEL), "", "end")
        for position, (value, kind) in enumerate(zip(group.values, kinds, strict=True)):
            if value is None:
                continue
            at = y + position * bar
            svg.rect(x.start, at, x(value) - x.start, bar - 2, kind)
            svg.text(x(value) + 6, at + bar - 3, f"{value:.{digits}f}{unit}", "small")
    return svg


@dataclass(frozen=True, slots=True)
class Spread:
    """A stage's percentiles in milliseconds."""

    label: str
    p50: float
    p90: float
    p99: float


def spreads(stages: Sequence[Spread]) -> Svg:
    """A bar to the median, a line on to the 99th percentile, with a tick at the 90th."""
    bar, gap, top = 15, 13, 8
    label = min(_MOST_LABEL, max((text_width(s.label) for s in stages), default=40.0)) + 18
    row = bar + gap
    height = top + row * len(stages) + 24
    svg = Svg(_WIDTH, height)
    x = linear([s.p99 for s in stages], label, _WIDTH - _RIGHT - 60)
    for tick in x.ticks():
        svg.line(x(tick), top, x(tick), height - 22, "grid" if tick else "axis")
        svg.text(x(tick), height - 6, short(tick), "soft", "middle")
    for index, stage in enumerate(stages):
        y = top + index * row + gap / 2
        middle = y + bar / 2
        svg.text(label - 9, middle + 4.5, shortened(stage.label, _MOST_LABEL), "", "end")
        svg.rect(x.start, y, x(stage.p50) - x.start, bar, "built")
        svg.line(x(stage.p50), middle, x(stage.p99), middle, "whisker")
        svg.line(x(stage.p90), y + 2, x(stage.p90), y + bar - 2, "whisker")
        svg.line(x(stage.p99), y, x(stage.p99), y + bar, "whisker")
        svg.text(x(stage.p99) + 7, middle + 4.5, f"{stage.p50:.2f} / {stage.p90:.2f} / {stage.p99:.2f}", "small")
    return svg


@dataclass(frozen=True, slots=True)
class BarPart:
    """A part of a whole."""

    label: str
    value: float
    kind: str


def stacked_bar(parts: Sequence[BarPart], low: float, high: float, unit: str) -> Svg:
    """One bar of parts, with an interval around its end.

    Args:
        parts: from left to right.
        low: lower end of the interval.
        high: upper end of the interval.
        unit: of the axis.
    """
    svg = Svg(_WIDTH, 72)
    left, top, bar = 12.0, 6.0, 34.0
    total = sum(part.value for part in parts)
    x = linear([high, total], left, _WIDTH - _RIGHT)
    ticks = x.ticks(8)
    for tick in ticks:
        svg.line(x(tick), top - 4, x(tick), top + bar + 8, "grid")
        text = f"{short(tick)} {unit}" if tick == ticks[-1] else short(tick)
        svg.text(x(tick), top + bar + 24, text, "soft", "middle")
    at = 0.0
    for part in parts:
        start, end = x(at), x(at + part.value)
        svg.rect(start, top, end - start, bar, part.kind, f"{part.label} {part.value:.2f} {unit}")
        at += part.value
    middle = top + bar / 2
    svg.line(x(low), middle, x(high), middle, "whisker")
    for end in (low, high):
        svg.line(x(end), top + 8, x(end), top + bar - 8, "whisker")
    return svg
