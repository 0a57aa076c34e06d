"""Axes, and drawings whatever the figures are."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkdeploy.analysis.page.plots.anchor_plot import anchor_plot
from rkdeploy.analysis.page.plots.bar_plots import BarPart, Group, Spread, grouped_bars, spreads, stacked_bar
from rkdeploy.analysis.page.plots.layer_plot import Bar, Lane, along_the_network
from rkdeploy.analysis.page.plots.memory_plot import memory_plot
from rkdeploy.analysis.page.plots.roofline_plot import Point, roofline_plot
from rkdeploy.analysis.page.plots.scales import Scale, linear, logarithmic, short
from rkdeploy.analysis.page.plots.svg import Svg, shortened, text_width
from rkdeploy.analysis.report.memory_map import TensorLife
from rkdeploy.analysis.report.model_report import LevelAnchors

ANY = st.floats(-1e18, 1e18)


def parsed(svg: Svg) -> ET.Element:
    """The drawing as XML, which it must be; every number in it is finite."""
    text = str(svg.markup("x", 'a <title> & "more"', "what it shows"))
    assert "nan" not in text
    assert "inf" not in text
    return ET.fromstring(text)


def test_axes_by_hand() -> None:
    """Linear ones begin at 0 and end at a round number, logarithmic ones at powers of ten."""
    axis = linear([3.0, 7.2], 100.0, 0.0)
    assert (axis.low, axis.high, axis.ticks()) == (0.0, 8.0, [0.0, 2.0, 4.0, 6.0, 8.0])
    assert (axis(0.0), axis(4.0), axis(8.0), axis(99.0)) == (100.0, 50.0, 0.0, 0.0)
    powers = logarithmic([0.5, 300.0], 0.0, 100.0)
    assert (powers.low, powers.high, powers.ticks()) == (0.1, 1000.0, [0.1, 1.0, 10.0, 100.0, 1000.0])
    assert powers(10.0) == pytest.approx(50.0)


@given(st.lists(ANY, max_size=5))
def test_axes_of_any_values(values: list[float]) -> None:
    """Few ticks, all on the axis, also of nothing, of zeros and of what a damaged file holds."""
    for axis in (linear(values, 0.0, 100.0), logarithmic(values, 0.0, 100.0)):
        assert axis.high > axis.low >= 0
        assert all(axis.low * (1 - 1e-9) <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks())
        assert all(0 <= axis(value) <= 100 for value in values)
        assert len(axis.ticks()) <= 60


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (1500, "1.5k"), (2e6, "2M"), (1e12, "1T"), (916e9, "916G")]
)
def test_short_numbers(value: float, text: str) -> None:
    """Thousands are letters."""
    assert short(value) == text


def test_text_is_escaped_and_shortened() -> None:
    """Markup in a label stays text, and Chinese takes twice the room."""
    svg = Svg(10, 10)
    svg.text(0, 0, "<b>&", "soft")
    svg.rect(0, 0, 1, 1, 'a" onload="x', "<i>")
    root = parsed(svg)
    assert [e.text for e in root.iter() if e.tag.endswith("text")] == ["<b>&"]
    assert not any("onload" in e.attrib for e in root.iter())
    assert text_width("螺栓", 10) == 20
    assert shortened("model.24.m.0", 40).endswith("…")
    assert shortened("short", 400) == "short"


@settings(deadline=None)
@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=6))
def test_any_figures_can_be_drawn(rows: list[tuple[float, float, float]]) -> None:
    """Bars, spreads, lanes, points and maps of any numbers are drawings without an infinite or missing coordinate."""
    kinds = ("built", "float")
    parsed(grouped_bars([Group("a", (x, None)) for x, _, _ in rows], kinds))
    parsed(spreads([Spread("s", *row) for row in rows]))
    parsed(stacked_bar([BarPart("p", abs(x), "compute") for x, _, _ in rows], 1.0, 2.0, "ms"))
    parsed(along_the_network([Lane("l", [Bar(x, "built", "t") for x, _, _ in rows])], range(len(rows)), "axis"))
    points = [Point(abs(x) + 1e-9, abs(y) + 1e-9, z, "memory", "t") for x, y, z in rows]
    parsed(roofline_plot(points, 1e12, 1e10, ("a", "b", "c", "d")))
    lives = [TensorLife("t", "INT8", int(x), int(y), 0, 3) for x, y, _ in rows]
    parsed(memory_plot(lives, 1 << 20, "axis", "MiB"))
    own = tuple((abs(x) + 1.0, abs(y) + 1.0) for x, y, _ in rows)
    parsed(anchor_plot([LevelAnchors(8, own, ())], ["h"]))


def test_bars_are_as_long_as_their_values() -> None:
    """Of two bars the one of twice the value is twice as long."""
    root = parsed(grouped_bars([Group("a", (0.25,)), Group("b", (0.5,))], ("built",), high=1.0))
    widths = [float(e.attrib["width"]) for e in root.iter() if e.attrib.get("class") == "built"]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.02)


def test_a_point_on_the_line_lies_on_the_line() -> None:
    """A layer that reaches what memory allows is drawn on the slanted line."""
    svg = roofline_plot([Point(10.0, 1e11, 0.01, "compute", "t")], 1e12, 1e10, ("a", "b", "c", "d"))
    root = parsed(svg)
    slanted = next(e.attrib for e in root.iter() if e.attrib.get("class") == "roof")
    x1, y1, x2, y2 = (float(slanted[k]) for k in ("x1", "y1", "x2", "y2"))
    dot = next(e.attrib for e in root.iter() if e.tag.endswith("circle"))
    cx, cy = float(dot["cx"]), float(dot["cy"])
    assert cy == pytest.approx(y1 + (cx - x1) / (x2 - x1) * (y2 - y1), abs=0.1)


def test_scale_holds_values_inside() -> None:
    """A value beyond an axis is drawn at its end."""
    assert Scale(0.0, 10.0, 0.0, 100.0)(-5.0) == 0.0
