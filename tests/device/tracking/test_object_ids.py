"""Ids of objects, whatever class the model sees in them."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.byte_tracker import TrackerSettings
from rkdeploy.device.tracking.class_votes import ClassVotes
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes
from rkdeploy.device.tracking.object_ids import ObjectIds
from rkdeploy.device.tracking.second_boxes import first_boxes

HIGH = np.array([0.5, 0.5, 0.8], np.float32)
LOW = 0.1


def found(*objects: tuple[float, float, int]) -> Detections:
    """Objects of 100 x 100 pixels by their left edge, score and class."""
    table = np.array(objects, np.float32).reshape(-1, 3)
    xyxy = np.column_stack((table[:, 0], np.zeros(len(table)), table[:, 0] + 100, np.full(len(table), 100)))
    return Detections(xyxy.astype(np.float32), table[:, 1], table[:, 2].astype(np.int32))


def firsts(*objects: tuple[float, float, int]) -> list[int]:
    """The box that stands for each object."""
    stands_for: list[int] = first_boxes(MeasuredBoxes.of(found(*objects), HIGH, LOW)).tolist()
    return stands_for


def test_second_boxes_are_those_of_another_class_at_the_same_place() -> None:
    """17 px apart 83 of 117 px are common, 0.709; 18 px apart 82 of 118, 0.695.  Two of a class are two."""
    assert firsts((0, 0.9, 0), (17, 0.8, 1)) == [0, 0]
    assert firsts((0, 0.8, 0), (17, 0.9, 1)) == [1, 1]
    assert firsts((0, 0.9, 0), (18, 0.8, 1)) == [0, 1]
    assert firsts((0, 0.9, 0), (1, 0.8, 0)) == [0, 1]
    assert firsts() == []


def test_a_second_box_has_none_of_its_own() -> None:
    """The third box overlaps the second one only, which stands for nothing: it is an object."""
    assert firsts((0, 0.9, 0), (15, 0.8, 1), (30, 0.7, 0)) == [0, 0, 2]
    assert firsts((15, 0.9, 0), (0, 0.8, 1), (30, 0.7, 2)) == [0, 0, 0]


def test_a_box_above_its_threshold_stands_for_one_below() -> None:
    """0.7 of class 2, which needs 0.8, is less than 0.6 of class 0, which needs 0.5."""
    assert firsts((0, 0.7, 2), (5, 0.6, 0)) == [1, 1]


def test_boxes_without_an_area_stand_for_themselves() -> None:
    """Nor are they second boxes of others."""
    broken = Detections(
        np.array([[0, 0, 0, 9], [0, 0, np.nan, 9], [0, 0, 9, 9]], np.float32),
        np.full(3, 0.9, np.float32),
        np.array([0, 1, 2], np.int32),
    )
    assert first_boxes(MeasuredBoxes.of(broken, HIGH, LOW)).tolist() == [0, 1, 2]


def test_the_class_of_a_track_is_voted() -> None:
    """By the sums of scores: 0.9 of class 1 is more than 0.3 + 0.5 of class 0, and less than 1.3 of it."""
    votes = ClassVotes()
    classes = []
    for class_id, score in ((0, 0.3), (0, 0.5), (1, 0.9), (0, 0.5)):
        votes.add([(4, class_id, score)])
        classes.append((votes.class_of(4), dict(votes.counts())))
    assert classes == [(0, {0: 1}), (0, {0: 1}), (1, {1: 1}), (0, {0: 1})]
    votes.forget([4])
    votes.add([(4, 1, 0.1)])  # nothing of the old one is left
    assert (votes.class_of(4), votes.counts()) == (1, {0: 1, 1: 1})


@pytest.mark.parametrize(
    ("per_class", "expected"),
    [
        (False, [([1], [0]), ([1], [0]), ([1], [0]), ([1], [0]), ([1], [1])]),
        (True, [([1], [0]), ([1, 0], [0, 1]), ([2], [1]), ([2], [1]), ([2], [1])]),
    ],
)
def test_an_object_keeps_its_id_when_its_class_changes(
    per_class: bool, expected: list[tuple[list[int], list[int]]]
) -> None:
    """A bolt, with the box of a nut in the second frame and that alone from the third one on."""
    objects = ObjectIds(HIGH, LOW, TrackerSettings(per_class=per_class))
    frames = [[(0, 0.9, 0)], [(1, 0.9, 0), (2, 0.55, 1)], [(2, 0.55, 1)], [(3, 0.55, 1)], [(4, 0.55, 1)]]
    seen = [objects.update(found(*frame), number / 30) for number, frame in enumerate(frames)]
    assert [(one.ids.tolist(), one.found.class_ids.tolist()) for one in seen] == expected
    assert objects.second_boxes == (0 if per_class else 1)


def test_all_objects_are_counted() -> None:
    """A new object in each half second, of the other class, 300 px further: those that have ended stay counted."""
    objects = ObjectIds(HIGH, LOW, TrackerSettings(lost_s=0.2))
    for number in range(50):
        nth = number // 5
        objects.update(found((300.0 * nth, 0.9, nth % 2)), number / 10)
    assert objects.counts() == {0: 5, 1: 5}
