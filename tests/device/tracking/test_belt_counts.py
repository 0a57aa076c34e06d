"""Counts over a line on what the sample model finds in the made video: exact, with all frames and with half of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.byte_tracker import TrackerSettings
from rkdeploy.device.tracking.stream_tracker import StreamCounts, StreamTracker, TrackingSettings
from tests.benchmarks.conveyor import FRAME_RATE, FRAMES, HEIGHT, LINE, WIDTH, items

BELT = Path(__file__).parents[2] / "data/tracking/belt.npz"
HIGH = np.full(3, 0.25, np.float32)


def belt() -> list[Detections]:
    """The detections of each frame, those with low scores among them."""
    with np.load(BELT) as recorded:
        frames, class_ids = recorded["frames"], recorded["class_ids"].astype(np.int32)
        xyxy = (recorded["eighths"] / 8).astype(np.float32)
        scores = (recorded["scores"] / 1e4).astype(np.float32)
    return [Detections(xyxy[frames == n], scores[frames == n], class_ids[frames == n]) for n in range(FRAMES)]


def counted(share: float, seed: int, *, per_class: bool) -> StreamCounts:
    """Counts with a share of the frames, chosen at random."""
    settings = TrackingSettings(HIGH, tracker=TrackerSettings(per_class=per_class), areas=(Area("gate", LINE),))
    tracker = StreamTracker("belt", settings)
    random = np.random.default_rng(seed)
    for number, found in enumerate(belt()):
        if random.uniform() < share:
            tracker.track(found, (HEIGHT, WIDTH), number / FRAME_RATE)
    return tracker.counts()


@pytest.mark.parametrize(("share", "seed"), [(1.0, 0), (0.5, 1), (0.5, 2)])
def test_counts_over_the_line_are_exact(share: float, seed: int) -> None:
    """12 in and 8 out, each with the class that it has, although the model takes some for another one at times."""
    line = counted(share, seed, per_class=False).lines[0]
    assert line.entered == Counter(one.kind for one in items() if one.speed > 0)
    assert line.left == Counter(one.kind for one in items() if one.speed < 0)


def test_an_object_that_is_seen_as_two_classes_counts_twice_where_classes_are_apart() -> None:
    """One washer is found as a nut, too, while it is on the line: the box of the nut has a track of its own then."""
    apart, together = (counted(1.0, 0, per_class=per_class) for per_class in (True, False))
    assert (sum(apart.lines[0].left.values()), sum(together.lines[0].left.values())) == (9, 8)
    assert (apart.second_boxes, together.second_boxes) == (0, 36)
    assert sum(apart.tracks.values()) > sum(together.tracks.values()) >= len(items())
