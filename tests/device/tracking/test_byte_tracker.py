"""Ids by ByteTrack: equal to two other implementations on the same detections, and what is ours."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.byte_tracker import ByteTracker, TrackerSettings
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes

VECTORS = Path(__file__).parents[2] / "data/tracking/byte_track.json"
HIGH = np.full(4, 0.5, np.float32)
LOW = 0.1
FRAME_S = 1 / 30


@lru_cache
def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


def measured(
    *objects: tuple[float, float, float, float, float, int], high: NDArray[np.float32] = HIGH
) -> MeasuredBoxes:
    """Objects as x1, y1, x2, y2, score, class."""
    table = np.array(objects, np.float64).reshape(-1, 6)
    found = Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int32))
    return MeasuredBoxes.of(found, high, LOW)


def box(
    x: float, y: float = 100.0, score: float = 0.9, class_id: int = 0
) -> tuple[float, float, float, float, float, int]:
    """A box of 40 x 80 pixels around a center."""
    return (x - 20, y - 40, x + 20, y + 40, score, class_id)


@pytest.mark.parametrize(("reference", "tolerance_px"), [("original", 1e-6), ("ultralytics", 2e-3)])
@pytest.mark.parametrize(
    ("scene", "answers", "per_class"),
    [(0, "apart", False), (0, "apart", True), (1, "apart", False), (2, "apart", True), (2, "together", False)],
)
def test_ids_and_boxes_are_those_of_other_implementations(
    scene: int, answers: str, per_class: bool, reference: str, tolerance_px: float
) -> None:
    """Ids are equal up to their names, and filtered boxes up to rounding: one of them computes in float32.

    The first two scenes have one class; three classes are those of one tracker of theirs, or of one for each.
    """
    given, recorded = vectors()["settings"], vectors()["scenes"][scene]
    # They remove a track that is lost for longer than the buffer after they have looked for it once more.
    buffer_s = (given["buffer"] + 1) / given["frame_rate"]
    tracker = ByteTracker(TrackerSettings(given["match"], buffer_s, given["frame_rate"], per_class))
    ours_of: dict[tuple[int, int], int] = {}
    for number, (frame, expected) in enumerate(zip(recorded["frames"], recorded[answers][reference], strict=True)):
        rows = zip(frame["xyxy"], frame["scores"], frame["class_ids"], strict=True)
        tracker.update(measured(*((*xyxy, score, i) for xyxy, score, i in rows)), number / given["frame_rate"])
        boxes = tracker.boxes()
        assert len(boxes) == len(expected), number
        for class_id, theirs, *xyxy in expected:
            known = ours_of.get((class_id, theirs))
            near = min(boxes, key=lambda one: float(np.abs(np.subtract(boxes[one], xyxy)).max()))
            ours = ours_of.setdefault((class_id, theirs), near) if known is None else known
            np.testing.assert_allclose(boxes[ours], xyxy, rtol=0, atol=tolerance_px, err_msg=f"frame {number}")
    assert len(set(ours_of.values())) == len(ours_of) > 5


def follow(tracker: ByteTracker, frames: list[tuple[float, MeasuredBoxes]]) -> list[list[int]]:
    """Ids of each frame's detections."""
    return [tracker.update(found, time_s).ids.tolist() for time_s, found in frames]


def test_an_object_has_its_id_from_its_second_frame_on() -> None:
    """The first frame of all confirms at once; a detection of one frame only gets no id and uses none up."""
    seen = [measured(box(100)), measured(box(100), box(300)), measured(box(100)), measured(box(100), box(600))]
    seen += [measured(box(100), box(600))]
    ids = follow(ByteTracker(), [(number * FRAME_S, found) for number, found in enumerate(seen)])
    assert ids == [[1], [1, 0], [1], [1, 0], [1, 2]]


def test_low_scores_continue_a_track_and_begin_none() -> None:
    """A score of 0.2 is that of the object before; alone it is nothing."""
    seen = [measured(box(100), box(400, score=0.2)), measured(box(102, score=0.2), box(400, score=0.2))]
    ids = follow(ByteTracker(), [(number * FRAME_S, found) for number, found in enumerate(seen)])
    assert ids == [[1, 0], [1, 0]]


def test_low_scores_need_half_an_overlap() -> None:
    """14 of 40 pixels away: 26 / 54 = 0.48 in common is too little at a low score, and enough at a high one."""
    for score, expected in ((0.3, [0]), (0.9, [1])):
        ids = follow(ByteTracker(), [(0.0, measured(box(100))), (FRAME_S, measured(box(114, score=score)))])
        assert ids == [[1], expected]


@pytest.mark.parametrize(("away_s", "expected"), [(0.9, 1), (1.0, 1), (1.05, 2)])
def test_a_lost_track_keeps_its_id_for_seconds(away_s: float, expected: int) -> None:
    """Also where the frames between are empty or dropped."""
    back = 10 * FRAME_S + away_s
    for between in ([], [(10 * FRAME_S + away_s * share, measured()) for share in (0.2, 0.5, 0.8)]):
        seen = [(number * FRAME_S, measured(box(100))) for number in range(11)]
        seen += [*between, (back, measured(box(100))), (back + FRAME_S, measured(box(100)))]
        assert follow(ByteTracker(), seen)[-1] == [expected]


def test_dropped_frames_are_longer_steps() -> None:
    """An object of 12 px per frame of which four in five frames are dropped: 60 of its 40 px further each time."""
    tracker = ByteTracker()
    every = [(number * FRAME_S, measured(box(100 + 12 * number))) for number in range(100)]
    assert {tuple(ids) for ids in follow(tracker, every[:10] + every[10::5])} == {(1,)}


def test_classes_can_be_apart() -> None:
    """Two objects of two classes at one place have two ids, which stay with their classes."""
    seen = [measured(box(100, class_id=1), box(101, class_id=2)), measured(box(101, class_id=2), box(100, class_id=1))]
    tracker = ByteTracker(TrackerSettings(per_class=True))
    assert follow(tracker, [(0.0, seen[0]), (FRAME_S, seen[1])]) == [[1, 2], [2, 1]]


@pytest.mark.parametrize(("per_class", "expected"), [(False, [[1], [1]]), (True, [[1], [0]])])
def test_a_track_takes_a_detection_of_another_class(per_class: bool, expected: list[list[int]]) -> None:
    """Unless classes are apart, where it begins a track of its own."""
    seen = [(0.0, measured(box(100))), (FRAME_S, measured(box(101, class_id=1)))]
    assert follow(ByteTracker(TrackerSettings(per_class=per_class)), seen) == expected


def test_the_threshold_is_that_of_the_class() -> None:
    """Class 1 begins tracks above 0.8 only."""
    high = np.array([0.5, 0.8], np.float32)
    found = measured(box(100, score=0.7), box(300, score=0.7, class_id=1), high=high)
    assert ByteTracker().update(found, 0.0).ids.tolist() == [1, 0]


def test_forgotten_tracks_are_named_once() -> None:
    """In the frame in which they cannot be found again any more."""
    tracker = ByteTracker(TrackerSettings(lost_s=0.5))
    tracker.update(measured(box(100), box(300)), 0.0)
    assert [tracker.update(measured(box(300)), time_s).ended for time_s in (0.1, 0.4, 0.6, 0.7)] == [(), (), (1,), ()]


def test_boxes_without_an_area_have_no_track() -> None:
    """Nor those with coordinates that are not finite; they harm no other."""
    bad = [
        (10.0, 10.0, 10.0, 50.0, 0.9, 0),
        (float("nan"), 0.0, 5.0, 5.0, 0.9, 0),
        (0.0, 0.0, float("inf"), 9.0, 0.9, 0),
    ]
    found = measured(*bad, box(100))
    assert follow(ByteTracker(), [(0.0, found), (FRAME_S, found)]) == [[0, 0, 0, 1], [0, 0, 0, 1]]


def test_time_goes_on() -> None:
    """A time that is not later is a fault of the caller."""
    tracker = ByteTracker()
    tracker.update(measured(), 1.0)
    with pytest.raises(ValueError, match=r"at 1\.0 s, expected a time after 1\.0 s"):
        tracker.update(measured(), 1.0)


def rotated(*objects: tuple[float, float, float, float, float]) -> MeasuredBoxes:
    """Rotated boxes of one class."""
    table = np.array(objects, np.float32).reshape(-1, 5)
    count = len(table)
    found = Detections(
        np.zeros((count, 4), np.float32), np.full(count, 0.9, np.float32), np.zeros(count, np.int32), rotated=table
    )
    return MeasuredBoxes.of(found, HIGH, LOW)


def test_rotated_boxes_are_compared_by_their_own_sides() -> None:
    """Two long boxes that cross like an X have one upright box around both; each keeps its id.

    The second frame has them in the other order, one with its sides exchanged and a quarter turn more.
    """
    first = rotated((300, 300, 200, 20, 0.7), (300, 300, 200, 20, -0.7))
    second = rotated((302, 300, 20, 200, -0.7 + np.pi / 2), (302, 300, 200, 20, 0.7))
    assert follow(ByteTracker(), [(0.0, first), (FRAME_S, second)]) == [[1, 2], [2, 1]]


def test_tracks_that_have_ended_leave_nothing() -> None:
    """400 frames with new objects each: the tracker holds those of the last second."""
    tracker = ByteTracker()
    for number in range(400):
        x = 100.0 + 300 * (number % 40)
        tracker.update(measured(box(x), box(x + 150)), number * FRAME_S)
    assert len(tracker) <= 2 * 32
