"""Horizontal bars: classes, stages, parts of a time, and rates by contexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.page.plots.scales import Scale, linear, short
from rkdeploy.analysis.page.plots.svg import NARROW_PX, WIDE_PX, Svg, shortened, text_width

_MOST_LABEL = 260.0
_LINE = 19  # height of a label's line, where labels stand above their bars


@dataclass(frozen=True, slots=True)
class _Frame:
    """Places of labels and bars in a drawing of horizontal bars.

    Attributes:
        left, right: coordinates of the axis's ends.
        label_x, label_line: end of the labels at the left of the bars; or 0, and the height of the lines above them.
    """

    left: float
    right: float
    label_x: float
    label_line: int


def _frame(labels: Sequence[str], width: int, right_px: int) -> _Frame:
    """Labels at the left of their bars; above them in a narrow drawing.

    Args:
        labels: of the groups.
        width: of the drawing.
        right_px: room behind the axis for the numbers at the bars.
    """
    if width <= NARROW_PX:
        return _Frame(2.0, width - right_px, 0.0, _LINE)
    label = min(_MOST_LABEL, max((text_width(one) for one in labels), default=40.0)) + 18
    return _Frame(label, width - right_px, label - 9, 0)


def _write_label(svg: Svg, frame: _Frame, text: str, top: float, middle: float) -> None:
    if frame.label_line:
        svg.text(frame.left + 5, top + frame.label_line - 6, shortened(text, svg.width - 9.0))
    else:
        svg.text(frame.label_x, middle + 4.5, shortened(text, _MOST_LABEL), "", "end")


def _draw_axis(svg: Svg, x: Scale, top: float) -> None:
    most = 5 if svg.width > NARROW_PX else 4
    for tick in x.ticks(most):
        svg.line(x(tick), top, x(tick), svg.height - 22, "grid" if tick else "axis")
        svg.text(x(tick), svg.height - 6, short(tick), "soft", "start" if not tick and x.start < 10 else "middle")


@dataclass(frozen=True, slots=True)
class Group:
    """A label and its bars, as many as there are series; None leaves one out."""

    label: str
    values: Sequence[float | None]


def grouped_bars(
    groups: Sequence[Group],
    kinds: Sequence[str],
    *,
    high: float | None = None,
    digits: int = 3,
    unit: str = "",
    width: int = WIDE_PX,
) -> Svg:
    """Bars side by side.

    Args:
        groups: what stands at the left.
        kinds: of the series, which choose color and hatching.
        high: end of the axis; None for a round number above the largest value.
        digits: behind the point of the numbers at the bars.
        unit: of the numbers, behind them.
        width: of the drawing.
    """
    bar, gap, top = 13, 9, 8
    frame = _frame([group.label for group in groups], width, 76 if width > NARROW_PX else 52)
    row = frame.label_line + bar * len(kinds) + gap
    svg = Svg(width, top + row * len(groups) + 24)
    values = [v for g in groups for v in g.values if v is not None]
    x = Scale(0.0, high, frame.left, frame.right) if high else linear(values, frame.left, frame.right)
    _draw_axis(svg, x, top)
    for index, group in enumerate(groups):
        y = top + index * row + gap / 2
        bars_y = y + frame.label_line
        _write_label(svg, frame, group.label, y, bars_y + bar * len(kinds) / 2)
        for position, (value, kind) in enumerate(zip(group.values, kinds, strict=True)):
            if value is None:
                continue
            at = bars_y + position * bar
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


def spreads(stages: Sequence[Spread], width: int = WIDE_PX) -> Svg:
    """A bar to the median, a line on to the 99th percentile, with a tick at the 90th."""
    bar, gap, top = 15, 13, 8
    frame = _frame([stage.label for stage in stages], width, 136 if width > NARROW_PX else 10)
    row = frame.label_line + bar + gap
    svg = Svg(width, top + row * len(stages) + 24)
    x = linear([s.p99 for s in stages], frame.left, frame.right)
    _draw_axis(svg, x, top)
    for index, stage in enumerate(stages):
        label_y = top + index * row + gap / 2
        y = label_y + frame.label_line
        middle = y + bar / 2
        figures = f"{stage.p50:.2f} / {stage.p90:.2f} / {stage.p99:.2f}"
        _write_label(svg, frame, stage.label, label_y, middle)
        svg.rect(x.start, y, x(stage.p50) - x.start, bar, "built")
        svg.line(x(stage.p50), middle, x(stage.p99), middle, "whisker")
        svg.line(x(stage.p90), y + 2, x(stage.p90), y + bar - 2, "whisker")
        svg.line(x(stage.p99), y, x(stage.p99), y + bar, "whisker")
        if frame.label_line:
            svg.text(width - 2.0, label_y + frame.label_line - 6, figures, "small", "end")
        else:
            svg.text(x(stage.p99) + 7, middle + 4.5, figures, "small")
    return svg


@dataclass(frozen=True, slots=True)
class BarPart:
    """A part of a whole."""

    label: str
    value: float
    kind: str


def stacked_bar(parts: Sequence[BarPart], low: float, high: float, unit: str, width: int = WIDE_PX) -> Svg:
    """One bar of parts, with an interval around its end.

    Args:
        parts: from left to right.
        low: lower end of the interval.
        high: upper end of the interval.
        unit: of the axis.
        width: of the drawing.
    """
    svg = Svg(width, 72)
    left, top, bar = 12.0, 6.0, 34.0
    total = sum(part.value for part in parts)
    narrow = width <= NARROW_PX
    x = linear([high, total], left, width - (24 if narrow else 76))
    ticks = x.ticks(4 if narrow else 8)
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
