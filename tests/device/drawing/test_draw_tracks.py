"""Trails, lines and zones in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.drawing.colors import class_color
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, Point, ZoneCount

GRAY = np.full((240, 320, 3), 60, np.uint8)
YELLOW, TEAL = (0x0A, 0xC2, 0xFF), (0xA6, 0xB0, 0x40)


def tracked(
    trail: tuple[Point, ...] = (), lines: tuple[LineCount, ...] = (), zones: tuple[ZoneCount, ...] = ()
) -> Detections:
    """One object of class 2 with the id 7."""
    tracks = FoundTracks(np.array([7], np.int32), (trail,), ({},), (), lines, zones)
    return Detections(
        np.array([[200, 100, 240, 140]], np.float32),
        np.array([0.9], np.float32),
        np.array([2], np.int32),
        tracks=tracks,
    )


def test_a_trail_has_the_color_of_the_class() -> None:
    """Along its points; without points nothing is drawn there."""
    trail = ((20.0, 120.0), (120.0, 120.0), (220.0, 120.0))
    drawn = draw_detections(GRAY, tracked(trail), ("a", "b", "c"))
    assert tuple(drawn[120, 70]) == class_color(2)
    assert tuple(draw_detections(GRAY, tracked(), ("a", "b", "c"))[120, 70]) == (60, 60, 60)


def test_a_line_has_an_arrow_to_where_in_is() -> None:
    """A line to the right: the arrow goes down from its middle."""
    line = LineCount("gate", ((40.0, 60.0), (120.0, 60.0)), {0: 3}, {})
    drawn = draw_detections(GRAY, tracked(lines=(line,)), ("a", "b", "c"))
    assert tuple(drawn[60, 50]) == YELLOW
    assert tuple(drawn[68, 80]) == YELLOW
    assert tuple(drawn[52, 115]) != YELLOW


def test_a_zone_is_outlined() -> None:
    """All edges, the closing one too."""
    zone = ZoneCount("hall", ((20.0, 60.0), (140.0, 60.0), (140.0, 200.0), (20.0, 200.0)), {2: 1}, {}, {}, {}, 0.0, 0.0)
    drawn = draw_detections(GRAY, tracked(zones=(zone,)), ("a", "b", "c"))
    assert [tuple(drawn[y, x]) for y, x in ((200, 80), (130, 20), (130, 140))] == [TEAL] * 3


@pytest.mark.parametrize("far", [1e5, -1e5])
def test_points_far_outside_are_no_harm(far: float) -> None:
    """Nor is a picture that is too small for any label."""
    line = LineCount("gate", ((far, 60.0), (120.0, -far)), {}, {})
    zone = ZoneCount("hall", ((far, far), (140.0, 60.0), (140.0, far)), {}, {}, {}, {}, 0.0, 0.0)
    assert draw_detections(GRAY, tracked(lines=(line,), zones=(zone,)), ("a",)).shape == GRAY.shape
    tiny = np.zeros((8, 8, 3), np.uint8)
    assert draw_detections(tiny, tracked(lines=(line,), zones=(zone,)), ("a",)).shape == tiny.shape


def test_the_id_is_in_the_label() -> None:
    """A picture with an id differs from the one with another id only where the label is."""
    one, other = tracked(), tracked()
    assert other.tracks is not None
    other.tracks.ids[0] = 8
    differs = (draw_detections(GRAY, one, ("a", "b", "c")) != draw_detections(GRAY, other, ("a", "b", "c"))).any(axis=2)
    rows, _ = differs.nonzero()
    assert 0 < len(rows) < 200
    assert rows.max() < 100
