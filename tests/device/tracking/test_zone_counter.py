"""Tracks in a zone: presence, ways in and out, stays."""

from __future__ import annotations

import pytest

from rkdeploy.device.tracking.anchored_track import AnchoredTrack
from rkdeploy.device.tracking.found_tracks import Point
from rkdeploy.device.tracking.zone_counter import ZoneCounter

SQUARE = ((100.0, 100.0), (200.0, 100.0), (200.0, 200.0), (100.0, 200.0))
ANGLE = ((0.0, 0.0), (300.0, 0.0), (300.0, 100.0), (100.0, 100.0), (100.0, 300.0), (0.0, 300.0))
"""An L."""


def at(point: Point, track_id: int = 1, class_id: int = 0) -> AnchoredTrack:
    """A track with a margin of 5 pixels."""
    return AnchoredTrack(track_id, class_id, point, 5.0)


def test_a_visit_from_outside() -> None:
    """In at 1 s, out at 4 s: a stay of 3 s."""
    zone = ZoneCounter("hall", SQUARE)
    for time_s, x in enumerate((50, 120, 150, 180, 250)):
        zone.update([at((x, 150))], float(time_s))
        assert zone.count().inside == ({0: 1} if 100 < x < 200 else {})
        assert zone.stays() == ({1: time_s - 1.0} if 100 < x < 200 else {})
    counted = zone.count()
    assert (counted.entered, counted.left, counted.visits) == ({0: 1}, {0: 1}, {0: 1})
    assert (counted.mean_s, counted.longest_s) == (3.0, 3.0)


def test_who_trembles_on_the_edge_comes_in_once() -> None:
    """The edge is passed with the margin."""
    zone = ZoneCounter("hall", SQUARE)
    for time_s, x in enumerate((90, 98, 102, 97, 104, 106, 101, 98, 96, 103, 150)):
        zone.update([at((x, 150))], float(time_s))
    assert (zone.count().entered, zone.count().left) == ({0: 1}, {})


def test_who_appears_or_ends_inside_is_there_and_comes_by_no_way() -> None:
    """The stay ends when the track was seen last, not when it was forgotten."""
    zone = ZoneCounter("hall", SQUARE)
    zone.update([at((150, 150)), at((120, 120), 2, 3)], 0.0)
    zone.update([at((150, 150))], 2.0)
    assert zone.count().inside == {0: 1, 3: 1}, "a track that is lost for a moment is inside"
    zone.forget([1, 2])
    counted = zone.count()
    assert (counted.inside, counted.entered, counted.left, counted.visits) == ({}, {}, {}, {0: 1, 3: 1})
    assert (counted.mean_s, counted.longest_s) == (1.0, 2.0)


def test_an_empty_zone_has_no_stay() -> None:
    """No division by zero."""
    zone = ZoneCounter("hall", SQUARE)
    zone.update([], 0.0)
    assert (zone.count().mean_s, zone.count().longest_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((50, 50), True),
        ((250, 50), True),
        ((50, 250), True),
        ((200, 200), False),
        ((-10, 50), False),
        ((150, 310), False),
    ],
)
def test_polygons_need_not_be_convex(point: Point, inside: bool) -> None:
    """Of an L both arms are inside, what lies between them is not."""
    zone = ZoneCounter("angle", ANGLE)
    zone.update([at(point)], 0.0)
    assert bool(zone.count().inside) == inside


def test_a_stay_is_counted_for_the_class_that_its_track_has() -> None:
    """One that came in as class 0 and one that appeared inside turn out to be of class 1."""
    zone = ZoneCounter("hall", SQUARE)
    zone.update([at((50, 150))], 0.0)
    zone.update([at((150, 150)), at((120, 120), 2)], 1.0)
    assert (zone.count().entered, zone.count().visits) == ({0: 1}, {0: 2})
    zone.update([at((160, 150), class_id=1), at((120, 120), 2, 1)], 2.0)
    counted = zone.count()
    assert (counted.inside, counted.entered, counted.visits) == ({1: 2}, {1: 1}, {1: 2})
    zone.update([at((250, 150), class_id=0), at((120, 120), 2, 1)], 3.0)
    counted = zone.count()
    assert (counted.entered, counted.left, counted.visits) == ({0: 1}, {0: 1}, {0: 1, 1: 1})
