"""Content of JSON lines and events."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import (
    Detections,
    FoundClassMap,
    FoundDepth,
    FoundText,
    InstanceMask,
    Ranking,
)
from rkdeploy.device.stream.frames import CaptureTime, Frame
from rkdeploy.device.stream.sinks.jsonl import JsonlSink, jsonl_line

NAMES = ("bolt", "螺母")
FRAME = Frame(np.zeros((48, 64, 3), np.uint8), "in/a.jpg", 3, captured=CaptureTime(1_700_000_000.25, 1.5))
TIMES = '"time": "2023-11-14T22:13:20.250000Z", "monotonic_s": 1.5'
ONE = Detections(np.array([[1.23456, 2, 30.5, 40]], np.float32), np.array([0.9], np.float32), np.array([1], np.int32))


def written(found: Detections, *, map_masks: bool = False) -> dict[str, object]:
    line = jsonl_line(FRAME, found, NAMES, map_masks=map_masks)
    assert line.isascii()
    assert "\n" not in line
    result = json.loads(line)
    assert isinstance(result, dict)
    return {name: value for name, value in result.items() if name not in ("time", "monotonic_s")}


def first(found: Detections) -> dict[str, object]:
    detections = written(found)["detections"]
    assert isinstance(detections, list)
    return dict(detections[0])


def test_plain_detections_are_written_as_ever() -> None:
    """To the letter: programs compare these lines."""
    assert jsonl_line(FRAME, ONE, NAMES) == (
        f'{{"source": "in/a.jpg", "frame": 3, {TIMES}, '
        '"detections": [{"xyxy": [1.23, 2.0, 30.5, 40.0], "confidence": 0.9, '
        '"class_id": 1, "class_name": "\\u87ba\\u6bcd"}]}'
    )
    assert jsonl_line(FRAME, Detections.empty(), NAMES) == (
        f'{{"source": "in/a.jpg", "frame": 3, {TIMES}, "detections": []}}'
    )


def test_the_position_in_a_video_is_written_beside_the_time_of_reading() -> None:
    """Seconds of the source's own clock; a picture has none."""
    line = json.loads(jsonl_line(replace(FRAME, timestamp_ms=1234.56), ONE, NAMES))
    assert list(line) == ["source", "frame", "time", "monotonic_s", "position_s", "detections"]
    assert line["position_s"] == 1.235
    assert "position_s" not in json.loads(jsonl_line(FRAME, ONE, NAMES))


def test_a_frame_has_the_times_at_which_it_was_made() -> None:
    """Both clocks, read when the source gave it."""
    before = CaptureTime.now()
    made = Frame(FRAME.image, "a", 0).captured
    after = CaptureTime.now()
    assert before.utc_s <= made.utc_s <= after.utc_s
    assert before.monotonic_s <= made.monotonic_s <= after.monotonic_s


def test_keypoints() -> None:
    """x, y, visibility of each, behind what every detection has."""
    found = replace(ONE, keypoints=np.array([[[1.006, 2, 0.98765], [3, 4, 0.1]]], np.float32))
    assert list(first(found)) == ["xyxy", "confidence", "class_id", "class_name", "keypoints"]
    assert first(found)["keypoints"] == [[1.01, 2.0, 0.988], [3.0, 4.0, 0.1]]


def test_rotated_boxes() -> None:
    """Center, size and angle; corners clockwise on the screen from the one that is top left at angle 0."""
    found = replace(ONE, rotated=np.array([[10, 20, 8, 4, 0]], np.float32))
    assert first(found)["obb"] == {
        "cx": 10.0, "cy": 20.0, "w": 8.0, "h": 4.0, "angle_rad": 0.0,
        "corners": [[6.0, 18.0], [14.0, 18.0], [14.0, 22.0], [6.0, 22.0]],
    }  # fmt: skip
    quarter = replace(ONE, rotated=np.array([[10, 20, 8, 4, np.pi / 2]], np.float32))
    rotated = first(quarter)["obb"]
    assert isinstance(rotated, dict)
    assert rotated["angle_rad"] == 1.5708
    assert rotated["corners"] == [[12.0, 16.0], [12.0, 24.0], [8.0, 24.0], [8.0, 16.0]]


def test_masks() -> None:
    """COCO's run lengths over the whole image, also for an object of no pixels."""
    pixels = np.ones((2, 3), np.bool_)
    found = replace(ONE, masks=(InstanceMask(5, 7, pixels),))
    assert first(found)["mask"] == {"size": [48, 64], "counts": "g72^1000ic2"}  # as pycocotools writes it
    empty = replace(ONE, masks=(InstanceMask(0, 0, np.zeros((0, 0), np.bool_)),))
    assert first(empty)["mask"] == {"size": [48, 64], "counts": "PP3"}


def drivable() -> FoundClassMap:
    ids = np.zeros((48, 64), np.uint8)
    ids[24:] = 1
    ids[40:, 32:] = 3
    return FoundClassMap("road", ("background", "drivable", "kerb", "草"), ids)


def test_class_maps_are_shares() -> None:
    """Of each class that is there, without the background; what covers a third of the image is still a short line."""
    result = written(replace(Detections.empty(), class_maps=(drivable(),)))
    assert result["detections"] == []
    assert result["class_maps"] == [
        {
            "name": "road",
            "classes": [
                {"class_id": 1, "class_name": "drivable", "share": round((24 * 64 - 8 * 32) / (48 * 64), 5)},
                {"class_id": 3, "class_name": "草", "share": round(8 * 32 / (48 * 64), 5)},
            ],
        }
    ]


def test_class_maps_with_their_pixels() -> None:
    """On demand each class has its pixels, in the form of instance masks."""
    maps = written(replace(Detections.empty(), class_maps=(drivable(),)), map_masks=True)["class_maps"]
    assert isinstance(maps, list)
    kerb = replace(ONE, masks=(InstanceMask(32, 40, np.ones((8, 32), np.bool_)),))
    assert maps[0]["classes"][1]["mask"] == first(kerb)["mask"]
    assert [list(of_class) for of_class in maps[0]["classes"]] == [["class_id", "class_name", "share", "mask"]] * 2


def test_a_map_without_background() -> None:
    """Class 0 is a class like the others."""
    ids = np.zeros((4, 8), np.uint8)
    ids[:, 6:] = 2
    found = FoundClassMap("scene", ("road", "sidewalk", "car"), ids, background=False)
    assert written(replace(Detections.empty(), class_maps=(found,)))["class_maps"] == [
        {"name": "scene", "classes": [
            {"class_id": 0, "class_name": "road", "share": 0.75},
            {"class_id": 2, "class_name": "car", "share": 0.25},
        ]}
    ]  # fmt: skip


def test_depth() -> None:
    """Smallest, median and largest of the finite values; nothing where none is."""
    values = np.full((8, 8), 3.0, np.float32)
    values[0, :3] = (0.51234567, np.nan, 9.0)
    assert written(replace(Detections.empty(), depth=FoundDepth(values, "metric")))["depth"] == {
        "kind": "metric", "min": 0.5123, "median": 3.0, "max": 9.0,
    }  # fmt: skip
    nothing = FoundDepth(np.full((2, 2), np.inf, np.float32), "inverse")
    assert written(replace(Detections.empty(), depth=nothing))["depth"] == {
        "kind": "inverse", "min": None, "median": None, "max": None,
    }  # fmt: skip


def test_a_ranking() -> None:
    """The best five with their names."""
    ranking = Ranking(np.array([1, 0, 1, 0, 1, 0], np.int32), np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.02], np.float32))
    result = written(replace(Detections.empty(), ranking=ranking))
    assert result["detections"] == []
    rows = result["ranking"]
    assert isinstance(rows, list)
    assert len(rows) == 5
    assert rows[0] == {"class_id": 1, "class_name": "螺母", "confidence": 0.5}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_null(value: float) -> None:
    """JSON has no NaN; the line stays readable, and the other numbers are there."""
    found = replace(
        Detections(np.array([[1, value, 3, 4]], np.float32), np.array([value], np.float32), np.array([0], np.int32)),
        keypoints=np.array([[[value, 2, 1]]], np.float32),
        rotated=np.array([[value, 2, 3, 4, value]], np.float32),
        ranking=Ranking(np.array([0], np.int32), np.array([value], np.float32)),
    )
    one = first(found)
    assert one["xyxy"] == [1.0, None, 3.0, 4.0]
    assert one["confidence"] is None
    assert one["keypoints"] == [[None, 2.0, 1.0]]
    assert isinstance(one["obb"], dict)
    assert (one["obb"]["cx"], one["obb"]["cy"], one["obb"]["angle_rad"]) == (None, 2.0, None)


def test_fields_of_empty_results() -> None:
    """Models of every task write an empty list for a frame without objects."""
    nothing = replace(
        Detections.empty(), keypoints=np.zeros((0, 17, 3), np.float32), rotated=np.zeros((0, 5), np.float32), masks=()
    )
    assert written(nothing) == {"source": "in/a.jpg", "frame": 3, "detections": []}


def test_the_sink_writes_pixels_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    """`map_masks` goes through to the lines."""
    found = replace(Detections.empty(), class_maps=(drivable(),))
    for map_masks in (False, True):
        with JsonlSink("-", NAMES, map_masks=map_masks) as sink:
            sink.write(FRAME, found)
        assert ("counts" in capsys.readouterr().out) == map_masks


def test_text_with_each_character() -> None:
    """The line, its mean confidence, and where each character begins; the attribute is the ranking."""
    text = FoundText(("苏", "E"), np.array([0.5, 1.0], np.float32), np.array([2, 5], np.int32))
    ranking = Ranking(np.array([1], np.int32), np.array([0.75], np.float32))
    made = written(replace(Detections.empty(), text=text, ranking=ranking))
    assert made["text"] == {
        "text": "苏E",
        "confidence": 0.75,
        "characters": [
            {"text": "苏", "confidence": 0.5, "column": 2},
            {"text": "E", "confidence": 1.0, "column": 5},
        ],
    }
    assert made["ranking"] == [{"class_id": 1, "class_name": "螺母", "confidence": 0.75}]
