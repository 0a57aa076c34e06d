"""The count of a run in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.cli.detection_counter import DetectionCounter
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth, FoundText, Ranking
from rkdeploy.device.stream.frames import Frame

FRAME = Frame(np.zeros((8, 8, 3), np.uint8), "a.jpg", 3)
NAMES = ("cat", "dog", "mouse")


def counted(*found: Detections) -> str:
    counter = DetectionCounter(NAMES)
    for one in found:
        counter.write(FRAME, one)
    return counter.in_words(len(found))


def ranked(*class_ids: int) -> Detections:
    ranking = Ranking(np.array(class_ids, np.int32), np.linspace(0.9, 0.1, len(class_ids), dtype=np.float32))
    return replace(Detections.empty(), ranking=ranking)


def test_texts() -> None:
    """Each with the number of frames that show it, next to the classes of its attribute."""
    line = FoundText(("苏", "E"), np.array([0.5, 1.0], np.float32), np.array([2, 5], np.int32))
    empty = FoundText((), np.zeros(0, np.float32), np.zeros(0, np.int32))
    read = [replace(ranked(1), text=line), replace(ranked(1), text=line), replace(Detections.empty(), text=empty)]
    assert counted(*read) == "first class 2 dog; text 2 苏E, 1 (none)"


def test_objects() -> None:
    """By class, the most frequent first; nothing is said as nothing."""
    boxes = Detections(np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.array([1, 1, 0], np.int32))
    assert counted(boxes, Detections.empty(), boxes) == "4 dog, 2 cat"
    assert counted(Detections.empty()) == "nothing"


def test_a_classifier() -> None:
    """Frames by their first class; the others of the ranking do not count."""
    assert counted(ranked(1, 0, 2), ranked(2, 1, 0), ranked(1, 2, 0)) == "first class 2 dog, 1 mouse"


def test_class_maps() -> None:
    """The mean share of the pixels: a quarter and none make an eighth; the background is not named."""
    ids = np.zeros((8, 8), np.uint8)
    empty = replace(Detections.empty(), class_maps=(FoundClassMap("lanes", ("background", "lane"), ids.copy()),))
    ids[:4, :4] = 1
    quarter = replace(Detections.empty(), class_maps=(FoundClassMap("lanes", ("background", "lane"), ids),))
    assert counted(quarter, empty) == "lanes: 12.5 % lane"
    assert counted(empty) == "lanes: nothing"


def test_a_map_without_background_and_depth() -> None:
    """Class 0 is named unless it is the background; depths by their range and the mean of the frames' medians."""
    ids = np.zeros((8, 8), np.uint8)
    found = FoundClassMap("scene", ("road", "car"), ids, background=False)
    assert counted(replace(Detections.empty(), class_maps=(found,))) == "scene: 100.0 % road"
    one, four = (FoundDepth(np.full((8, 8), depth, np.float32), "metric") for depth in (1, 4))
    both = (replace(Detections.empty(), depth=depth) for depth in (one, four))
    assert counted(*both) == "depth 1 to 4 m, median 2.5 m"
    hollow = replace(Detections.empty(), depth=FoundDepth(np.full((8, 8), np.nan, np.float32), "inverse"))
    assert counted(hollow) == "depth: nothing"


def test_a_line_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where it is asked for; of this frame alone."""
    counter = DetectionCounter(NAMES)
    counter.write(FRAME, ranked(0))
    assert capsys.readouterr().err == ""
    counter.prints = True
    counter.write(FRAME, ranked(1, 2))
    assert capsys.readouterr().err == "a.jpg [3]: dog 0.90\n"
