"""Frames of a stream with ids, trails and counts."""

from __future__ import annotations

import gc
import sys
from collections import deque

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections, InstanceMask
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.found_tracks import FoundTracks
from rkdeploy.device.tracking.stream_tracker import StreamTracker, TrackingSettings

HW = (720, 1280)
HIGH = np.array([0.5, 0.5], np.float32)


def found(*objects: tuple[float, float, float, int]) -> Detections:
    """Objects of 40 x 80 pixels by center x, center y, score, class, with a mask and a keypoint each."""
    table = np.array(objects, np.float32).reshape(-1, 4)
    count = len(table)
    xyxy = np.concatenate((table[:, :2] - (20, 40), table[:, :2] + (20, 40)), axis=1).astype(np.float32)
    masks = tuple(InstanceMask(int(x), 0, np.ones((1, 1), np.bool_)) for x in table[:, 0])
    points = np.concatenate((table[:, :2], np.ones((count, 1), np.float32)), axis=1).reshape(count, 1, 3)
    return Detections(xyxy, table[:, 2], table[:, 3].astype(np.int32), keypoints=points, masks=masks)


def test_ids_belong_to_the_objects_that_stay() -> None:
    """Low scores without a track are left out, with their masks and keypoints; those with one stay."""
    tracker = StreamTracker("cam", TrackingSettings(HIGH))
    tracker.track(found((100, 100, 0.9, 0), (300, 100, 0.8, 1)), HW, 0.0)
    kept = tracker.track(
        found((600, 300, 0.7, 0), (101, 100, 0.3, 0), (302, 100, 0.2, 1), (900, 300, 0.2, 0)), HW, 0.04
    )
    assert kept.tracks is not None
    assert kept.masks is not None
    assert kept.keypoints is not None
    assert kept.tracks.ids.tolist() == [0, 1, 2]
    assert [mask.left for mask in kept.masks] == [600, 101, 302]
    assert kept.keypoints[:, 0, 0].tolist() == [600, 101, 302]
    assert kept.tracks.trails == ((), ((100.0, 100.0), (101.0, 100.0)), ((300.0, 100.0), (302.0, 100.0)))
    assert tracker.counts().tracks == {0: 1, 1: 1}


def test_lines_and_zones_are_of_their_stream() -> None:
    """In fractions of the frame: a line at x = 640, a zone right of it; another stream's line is not there."""
    areas = (
        Area("middle", ((0.5, 1.0), (0.5, 0.0))),
        Area("right", ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)), "cam"),
        Area("other", ((0.0, 0.0), (1.0, 1.0)), "cam 2"),
    )
    tracker = StreamTracker("cam", TrackingSettings(HIGH, areas=areas))
    crossings = []
    for number in range(10):
        kept = tracker.track(found((560 + 20 * number, 300, 0.9, 1)), HW, number / 10)
        assert kept.tracks is not None
        crossings += [(number, one.line, one.direction, one.track_id) for one in kept.tracks.crossings]
    assert crossings == [(5, "middle", "in", 1)]
    assert kept.tracks is not None
    assert [line.name for line in kept.tracks.lines] == ["middle"]
    assert kept.tracks.lines[0].points == ((640.0, 720.0), (640.0, 0.0))
    assert kept.tracks.lines[0].entered == {1: 1}
    assert kept.tracks.zones[0].entered == {1: 1}
    assert [dict(one) for one in kept.tracks.stays] == [{"right": pytest.approx(0.4)}]


def test_the_bottom_of_a_box_can_be_what_counts() -> None:
    """Feet that cross y = 340 belong to a center at 300."""
    line = Area("door", ((0.0, 340.0), (1280.0, 340.0)))
    for anchor, expected in (("center", {}), ("bottom", {0: 1})):
        tracker = StreamTracker("cam", TrackingSettings(HIGH, areas=(line,), anchor=anchor))  # type: ignore[arg-type]  # one of the two
        for number in range(6):
            tracker.track(found((500, 280 + 8 * number, 0.9, 0)), HW, number / 10)
        assert tracker.counts().lines[0].entered == expected


@pytest.mark.parametrize("times", [[None] * 4, [0.0] * 4, [5.0, 0.0, 1.0, 2.0], [0.0, 0.03, 0.03, 0.1]])
def test_frames_without_a_time_follow_each_other(times: list[float | None]) -> None:
    """Images have no time, some files give all frames the same one, and clocks are set back."""
    tracker = StreamTracker("cam", TrackingSettings(HIGH))
    ids = [tracker.track(found((100, 100, 0.9, 0)), HW, time_s).tracks for time_s in times]
    assert [one.ids.tolist() for one in ids if one is not None] == [[1]] * 4


def test_trails_and_counters_are_bounded() -> None:
    """A track that stays for long has the points of 2 s; one that ended leaves none, and its stay ends."""
    zone = Area("all", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    tracker = StreamTracker("cam", TrackingSettings(HIGH, areas=(zone,)))
    for number in range(120):
        kept = tracker.track(found((100 + number, 100, 0.9, 0)), HW, number / 25)
    assert kept.tracks is not None
    assert len(kept.tracks.trails[0]) == 51
    tracker.track(found(), HW, 10.0)
    assert tracker.counts().zones[0].inside == {}
    assert tracker.counts().zones[0].longest_s == pytest.approx(119 / 25)


def test_a_part_of_the_objects_keeps_its_tracks() -> None:
    """Selection and scaling of detections carry ids, trails, lines and zones along."""
    line = Area("door", ((0.0, 340.0), (1280.0, 340.0)))
    tracker = StreamTracker("cam", TrackingSettings(HIGH, areas=(line,)))
    tracker.track(found((100, 100, 0.9, 0), (300, 100, 0.8, 1)), HW, 0.0)
    kept = tracker.track(found((100, 100, 0.9, 0), (300, 100, 0.8, 1)), HW, 0.1).where(np.array([False, True]))
    assert kept.tracks is not None
    assert kept.tracks.ids.tolist() == [2]
    half = kept.tracks.scaled(0.5, 0.25)
    assert half.trails == (((150.0, 25.0), (150.0, 25.0)),)
    assert half.lines[0].points == ((0.0, 85.0), (640.0, 85.0))


def test_frames_leave_nothing_in_memory() -> None:
    """Blocks of Python's allocator after 300 and 1,200 frames with six objects, of which the last 60 frames are kept.

    Freed tuples that CPython keeps for others are among them, so that the garbage collector, which frees those, is off.
    """
    areas = (Area("middle", ((0.5, 1.0), (0.5, 0.0))), Area("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))))
    tracker = StreamTracker("cam", TrackingSettings(HIGH, areas=areas))
    kept: deque[FoundTracks] = deque(maxlen=60)
    six = np.array([(80, 100 * row, 120, 100 * row + 80) for row in range(6)], np.float32)
    scores, class_ids = np.full(6, 0.9, np.float32), np.zeros(6, np.int32)
    blocks = []
    gc.disable()
    try:
        for number in range(1200):
            boxes = six + np.array((10, 0, 10, 0), np.float32) * (number % 100)
            tracks = tracker.track(Detections(boxes, scores, class_ids), HW, number / 30).tracks
            assert tracks is not None
            kept.append(tracks.scaled(0.5, 0.5))
            if number in (299, 1199):
                blocks.append(sys.getallocatedblocks())
    finally:
        gc.enable()
    assert blocks[1] - blocks[0] < 1000
