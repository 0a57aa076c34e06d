"""A made scene with known answers: how many objects there are, and how often each crosses the line."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.stream_tracker import StreamTracker, TrackingSettings

HW = (480, 640)
FRAMES = 420
OBJECTS = 20
DARK = (range(150, 162), range(300, 315))
"""Frames in which nothing is found."""
BRIDGE = (200.0, 240.0)
"""Columns under which scores are low."""


def centers(frame: int) -> dict[int, tuple[float, float]]:
    """Places of the objects that are in the picture: on five belts, of which two go to the left.

    The last one of the first belt stops on the line for 60 frames and trembles there.
    """
    speeds = (4.4, -3.7, 5.1, -4.8, 3.9)
    found = {}
    for number in range(OBJECTS):
        passed, speed = frame - 11 * number, speeds[number % 5]
        x = (0.0 if speed > 0 else 640.0) + speed * passed
        if number == OBJECTS - 5:
            arrival = round(430 / speed)
            waited = min(max(passed - arrival, 0), 60)
            x = speed * (passed - waited) + ((-1.5, 1.5)[frame % 2] if 0 < waited < 60 else 0.0)
        if passed >= 0 and 0 <= x <= 640:
            found[number] = (x, 60.0 + 90 * (number % 5))
    return found


def detections(frame: int, random: np.random.Generator) -> tuple[list[int], Detections]:
    """The objects of a frame with noise and misses, by their numbers, and one false box of a low score."""
    rows, numbers = [], []
    for number, (x, y) in centers(frame).items():
        hidden = BRIDGE[0] < x < BRIDGE[1]
        if any(frame in dark for dark in DARK) or random.uniform() < 0.05:
            continue
        box = np.array((x - 24, y - 20, x + 24, y + 20)) + random.normal(0, 0.7, 4)
        rows.append((*box, random.uniform(0.15, 0.45) if hidden else random.uniform(0.6, 0.95)))
        numbers.append(number)
    rows.append((*random.uniform(0, 200, 2), *random.uniform(400, 480, 2), 0.3))
    table = np.array(rows, np.float32)
    return numbers, Detections(table[:, :4], table[:, 4], np.zeros(len(table), np.int32))


@pytest.mark.parametrize(("step", "share"), [(1, 1.0), (2, 1.0), (1, 0.75)])
def test_every_object_has_one_id_and_crosses_once(step: int, share: float) -> None:
    """With all frames, and with frames dropped regularly and at random: no id changes, and counts are exact."""
    random = np.random.default_rng(8)
    line = Area("gate", ((430.0, 480.0), (430.0, 0.0)))
    tracker = StreamTracker("belt", TrackingSettings(np.full(1, 0.5, np.float32), areas=(line,)))
    ids_of: dict[int, set[int]] = {}
    for frame in range(FRAMES):
        if frame % step or random.uniform() >= share:
            continue
        numbers, found = detections(frame, random)
        tracked = tracker.track(found, HW, frame / 30).tracks
        assert tracked is not None
        boxes = {tuple(box): number for number, box in zip(numbers, found.xyxy.tolist(), strict=False)}
        for one, trail in zip(tracked.ids.tolist(), tracked.trails, strict=True):
            if one:
                x, y = trail[-1]
                near = min(boxes, key=lambda box: abs((box[0] + box[2]) / 2 - x) + abs((box[1] + box[3]) / 2 - y))
                ids_of.setdefault(boxes[near], set()).add(one)
    assert sorted(ids_of) == list(range(OBJECTS))
    assert {number: len(ids) for number, ids in ids_of.items() if len(ids) > 1} == {}
    assert len(set.union(*ids_of.values())) == OBJECTS
    counted = tracker.counts().lines[0]
    assert (counted.entered, counted.left) == ({0: 12}, {0: 8})
