"""Crossings of a line: direction, hysteresis, ends."""

from __future__ import annotations

import pytest

from rkdeploy.device.tracking.anchored_track import AnchoredTrack
from rkdeploy.device.tracking.found_tracks import Crossing, Point
from rkdeploy.device.tracking.line_counter import LineCounter

LINE = ((100.0, 200.0), (300.0, 200.0))
"""From left to right: in is downward."""


def crossed(points: list[Point], line: tuple[Point, Point] = LINE, margin: float = 5.0) -> list[str]:
    """Directions in which a track that is seen at some points crosses a line."""
    counter = LineCounter("gate", line)
    found = [one for point in points for one in counter.update([AnchoredTrack(7, 2, point, margin)])]
    assert all(one == Crossing("gate", one.direction, 7, 2) for one in found)
    counted = counter.count()
    assert counted.entered == ({2: n} if (n := sum(one.direction == "in" for one in found)) else {})
    assert counted.left == ({2: n} if (n := sum(one.direction == "out" for one in found)) else {})
    return [one.direction for one in found]


def test_the_direction_is_that_of_who_looks_along_the_line() -> None:
    """From left to right is in: for a line to the right that is downward, for one upward it is to the right."""
    assert crossed([(200, 180), (200, 220)]) == ["in"]
    assert crossed([(200, 220), (200, 180)]) == ["out"]
    assert crossed([(200, 220), (200, 180)], (LINE[1], LINE[0])) == ["in"]
    assert crossed([(180, 200), (220, 200)], ((200.0, 300.0), (200.0, 100.0))) == ["in"]


def test_trembling_on_the_line_counts_once() -> None:
    """A box that moves by less than its margin around the line does not cross it; one that goes on has crossed once."""
    trembling: list[Point] = [(200, y) for y in (190, 199, 202, 198, 204, 197, 200, 204.9, 196)]
    assert crossed(trembling) == []
    assert crossed([*trembling, (200, 206), (200, 201), (200, 196), (200, 203), (200, 230)]) == ["in"]


def test_there_and_back_are_two_crossings() -> None:
    """Each direction has its count."""
    assert crossed([(200, 180), (200, 206), (200, 194), (200, 220)]) == ["in", "out", "in"]


@pytest.mark.parametrize(("x", "expected"), [(99, []), (100, ["in"]), (300, ["in"]), (301, [])])
def test_who_goes_around_an_end_does_not_cross(x: float, expected: list[str]) -> None:
    """The line has two ends."""
    assert crossed([(x, 180), (x, 220)]) == expected


def test_dropped_frames_lose_no_crossing() -> None:
    """The way from the last point on the old side counts: here straight across the line, and past its end."""
    assert crossed([(150, 0), (250, 400)]) == ["in"]
    assert crossed([(250, 0), (420, 400)]) == []


def test_who_begins_on_the_line_is_on_no_side_yet() -> None:
    """The first point off the line decides."""
    assert crossed([(200, 200), (200, 210), (200, 190)]) == ["out"]


def test_tracks_are_apart_and_forgotten() -> None:
    """A new track of a number that was forgotten begins anew."""
    counter = LineCounter("gate", LINE)
    counter.update([AnchoredTrack(1, 0, (200, 180), 5.0), AnchoredTrack(2, 1, (220, 220), 5.0)])
    counter.forget([1, 99])
    both = counter.update([AnchoredTrack(1, 0, (200, 220), 5.0), AnchoredTrack(2, 1, (220, 180), 5.0)])
    assert [(one.track_id, one.direction) for one in both] == [(2, "out")]
