"""The roofline: what each layer reaches against what the chip's two lines allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.analysis.page.plots.scales import logarithmic, short
from rkdeploy.analysis.page.plots.svg import NARROW_PX, WIDE_PX, Svg, text_width

_TOP, _BOTTOM = 30, 52


@dataclass(frozen=True, slots=True)
class Point:
    """One layer: multiply-accumulates a byte, and a second; `share` of the time sizes it."""

    intensity: float
    rate: float
    share: float
    kind: str
    title: str


def roofline_plot(
    points: Sequence[Point],
    macs_per_second: float,
    bytes_per_second: float,
    texts: tuple[str, str, str, str],
    width: int = WIDE_PX,
) -> Svg:
    """The chip's lines and the layers under them.

    Args:
        points: the layers.
        macs_per_second: the chip's flat line.
        bytes_per_second: its slanted line.
        texts: below the horizontal axis, next to the vertical one, on the flat line, on the slanted line.
        width: of the drawing.
    """
    below, beside, flat, slanted = texts
    narrow = width <= NARROW_PX
    left, right, bottom, largest_px = (44, 310, 308, 12) if narrow else (76, width - 24, 368, 22)
    svg = Svg(width, bottom + _BOTTOM)
    ridge = macs_per_second / bytes_per_second
    x = logarithmic([*(p.intensity for p in points), ridge], left, right)
    y = logarithmic([*(p.rate for p in points), macs_per_second], bottom, _TOP)
    for tick in x.ticks():
        svg.line(x(tick), _TOP, x(tick), bottom, "grid")
        svg.text(x(tick), bottom + 18, short(tick), "soft", "middle")
    for tick in y.ticks():
        svg.line(left, y(tick), right, y(tick), "grid")
        svg.text(left - 8, y(tick) + 4, short(tick), "soft", "end")
    svg.text(right, svg.height - 10, below, "soft", "end")
    svg.text(8, 16, beside, "soft")
    low = max(x.low, y.low / bytes_per_second)
    svg.line(x(low), y(low * bytes_per_second), x(ridge), y(macs_per_second), "roof")
    svg.line(x(ridge), y(macs_per_second), x.end, y(macs_per_second), "roof")
    svg.text(x.end - 4, y(macs_per_second) - 8, flat, "strong", "end")
    middle = (low * ridge) ** 0.5
    text_x, text_y = x(middle) - 10, y(middle * bytes_per_second) - 8
    fits = text_x - text_width(slanted, 13) > left
    svg.text(text_x if fits else left + 4.0, text_y, slanted, "strong", "end" if fits else "start")
    for point in sorted(points, key=lambda p: -p.share):
        radius = 3 + largest_px * min(max(point.share, 0.0), 0.25) ** 0.5
        _dot(svg, x(point.intensity), y(point.rate), radius, point)
    return svg


def _dot(svg: Svg, cx: float, cy: float, radius: float, point: Point) -> None:
    """A circle for what computes, a square for what moves data, a diamond for activations, a triangle for the rest."""
    r = radius
    if point.kind == "memory":
        svg.add("rect", x=cx - r * 0.9, y=cy - r * 0.9, width=1.8 * r, height=1.8 * r, kind="dot memory")
    elif point.kind == "activation":
        svg.add(
            "path",
            d=f"M{cx:.1f} {cy - r * 1.2:.1f}l{r * 1.2:.1f} {r * 1.2:.1f}l{-r * 1.2:.1f} {r * 1.2:.1f}"
            f"l{-r * 1.2:.1f} {-r * 1.2:.1f}z",
            kind="dot activation",
        )
    elif point.kind == "attention":
        svg.add(
            "path", d=f"M{cx:.1f} {cy - r * 1.2:.1f}l{r * 1.1:.1f} {r * 2:.1f}h{-r * 2.2:.1f}z", kind="dot attention"
        )
    else:
        svg.add("circle", cx=cx, cy=cy, r=r, kind=f"dot {point.kind}")
