"""Lines and zones as text."""

from __future__ import annotations

import pytest

from rkdeploy.device.tracking.areas import Area, line_from_text, require_names_once, zone_from_text
from rkdeploy.errors import RkdeployError


def test_pixels_and_fractions() -> None:
    """Fractions are of the frame's width and height; a name may contain a colon."""
    line = line_from_text("gate: north:0,0.5,1,0.5")
    assert line == Area("gate: north", ((0.0, 0.5), (1.0, 0.5)))
    assert line.in_pixels((720, 1280)) == ((0.0, 360.0), (1280.0, 360.0))
    zone = zone_from_text("hall:10,20,110,20,60,90.5")
    assert zone.in_pixels((720, 1280)) == ((10.0, 20.0), (110.0, 20.0), (60.0, 90.5))
    assert (line.is_line, zone.is_line) == (True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4", 'Line "" has no name'),
        ("gate:1,2,3", "has 3 numbers, expected an even count"),
        ("gate:1,2,x,4", "has words that are not numbers"),
        ("gate:", "has words that are not numbers"),
        ("gate:1,2", "has 1 points, expected 2"),
        ("gate:1,2,3,4,5,6", "has 3 points, expected 2"),
        ("gate:5,5,5,5", "has a length of 0"),
        ("gate:nan,2,3,4", "has a coordinate beyond"),
        ("gate:1e9,2,3,4", "has a coordinate beyond"),
    ],
)
def test_a_text_that_is_no_line_is_refused(text: str, message: str) -> None:
    """With what was expected."""
    with pytest.raises(RkdeployError) as refused:
        line_from_text(text)
    assert message in refused.value.message
    assert "NAME:x1,y1,x2,y2" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hall:1,2,3,4", "has 2 corners, expected 3 to 64"),
        ("hall:" + ",".join(["1,2"] * 65), "has 65 corners"),
        ("hall:0,0,10,10,20,20", "has an area of 0"),
    ],
)
def test_a_text_that_is_no_zone_is_refused(text: str, message: str) -> None:
    """With what was expected, too."""
    with pytest.raises(RkdeployError) as refused:
        zone_from_text(text)
    assert message in refused.value.message


def test_names_are_given_once() -> None:
    """A line and a zone may have one name, and lines of different streams."""
    points = ((0.0, 0.0), (9.0, 9.0))
    require_names_once([Area("a", points, "left"), Area("a", points, "right"), Area("a", (*points, (9.0, 0.0)))])
    with pytest.raises(RkdeployError, match='Line "a" is given twice'):
        require_names_once([Area("a", points), Area("a", points, "left")])
