"""Tracking in a run: ids, crossings and stays in JSON, in the summary and in pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typing_extensions import Self

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.run_tracking import with_low_scores
from rkdeploy.device.stream.sinks.tracked import TrackingSink
from rkdeploy.device.tracking.area_file import read_areas
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.stream_tracker import TrackingSettings
from rkdeploy.errors import RkdeployError
from tests.command_line import rkdeploy
from tests.device.chain.chain_bundles import make_brightness_bundle
from tests.device.tracking.moving_spot import make_spot_bundle, write_pictures

MIDDLE = "middle:0.5,1,0.5,0"
RIGHT = "right:16,0,32,0,32,32,16,32"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and five pictures of a spot that goes to the right; it stands and is dim in the third one."""
    place = tmp_path_factory.mktemp("tracking")
    make_spot_bundle(place / "spot")
    write_pictures(place / "images", [0, 1, 1, 2, 3], [230, 230, 50, 230, 230])
    return place


def test_the_command_writes_ids_crossings_and_stays(place: Path) -> None:
    """The dim spot, whose score of 0.2 is below the threshold, is found because it continues the track."""
    words = ("run", "spot", "images", "--line", MIDDLE, "--zone", RIGHT, "--json", "--save", "drawn")
    result = rkdeploy(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [[one["track_id"] for one in line["detections"]] for line in lines] == [[1]] * 5
    assert [one["confidence"] < 0.25 for line in lines for one in line["detections"]] == [
        False,
        False,
        True,
        False,
        False,
    ]
    crossing = {"line": "middle", "direction": "in", "track_id": 1, "class_id": 0, "class_name": "bolt"}
    assert [line["crossings"] for line in lines] == [[], [], [], [crossing], []]
    assert lines[-1]["lines"] == [{"name": "middle", "in": {"bolt": 1}, "out": {}}]
    assert [line["detections"][0].get("zones") for line in lines] == [None, None, None, {"right": 0.0}, {"right": 0.03}]
    assert lines[-1]["zones"] == [
        {
            "name": "right",
            "inside": {"bolt": 1},
            "in": {"bolt": 1},
            "out": {},
            "visits": {"bolt": 1},
            "mean_stay_s": 0.03,
            "longest_stay_s": 0.03,
        }
    ]
    assert "Tracks: 1 bolt\nLine middle: in 1 bolt, out 0\nZone right: 1 bolt; stayed 0.0 s" in result.stderr
    plain = rkdeploy("run", "spot", "images", "--json", "--save", "plain", cwd=place)
    assert "track_id" not in plain.stdout
    assert [len(json.loads(line)["detections"]) for line in plain.stdout.splitlines()] == [1, 1, 0, 1, 1]
    for drawn, name in ((cv2.imread(str(place / "drawn" / f"{i}.png")), f"plain/{i}.png") for i in (1, 3)):
        assert not np.array_equal(drawn, cv2.imread(str(place / name)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--line", "gate:1,2"), 'Line "gate" has 1 points, expected 2.'),
        (("--line", MIDDLE, "--line", MIDDLE), 'Line "middle" is given twice.'),
        (("--zone", "hall:1,2,3,4"), 'Zone "hall" has 2 corners'),
        (("--areas", "none.json"), '"none.json" cannot be read'),
        (
            ("--areas", "other.json"),
            '"gate" of "other.json" is of the stream "cam 9", which is not among those of the run: ',
        ),
    ],
)
def test_wrong_lines_and_zones_are_refused(place: Path, words: tuple[str, ...], message: str) -> None:
    """Before anything runs."""
    other = {"line": [{"name": "gate", "points": [[0, 0], [9, 9]], "source": "cam 9"}]}
    (place / "other.json").write_text(json.dumps(other))
    result = rkdeploy("run", "spot", "images", *words, cwd=place)
    assert result.returncode == 1
    assert message in result.stderr


def test_low_scores_are_asked_for_but_of_unwanted_classes() -> None:
    """Classes whose threshold is 1 stay out."""
    lowered = with_low_scores(Thresholds(0.4, {0: 0.05, 1: 1.0, 2: 0.8}), 0.1)
    assert (lowered.confidence, dict(lowered.per_class)) == (0.1, {0: 0.05, 1: 1.0, 2: 0.1})


class _Kept:
    """A sink that keeps the ids of each frame."""

    def __init__(self) -> None:
        self.ids: list[tuple[str, list[int]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        assert detections.tracks is not None
        self.ids.append((frame.source, detections.tracks.ids.tolist()))


def test_streams_are_tracked_apart() -> None:
    """Two cameras whose frames come in turns, with lines of their own: ids and counts of each begin at 1 and 0."""
    kept = _Kept()
    areas = (Area("gate", ((0.0, 150.0), (300.0, 150.0)), "left"), Area("gate", ((0.0, 50.0), (300.0, 50.0)), "right"))
    sink = TrackingSink(TrackingSettings(np.full(1, 0.5, np.float32), areas=areas), ("left", "right"), [kept])
    for number in range(8):
        for origin, name in enumerate(("left", "right")):
            y = 100 + 10 * number
            box = np.array([[80, y - 40, 120, y + 40]], np.float32)
            found = Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int32))
            frame = Frame(np.zeros((300, 300, 3), np.uint8), name, number, number * 40.0, origin)
            sink.write(frame, found)
    assert kept.ids == [("left", [1]), ("right", [1])] * 8
    left, right = sink.counts()
    assert (left.source, left.lines[0].entered, right.lines[0].entered) == ("left", {0: 1}, {})


def test_files_of_areas(tmp_path: Path) -> None:
    """The same as JSON and as TOML."""
    entries = {"line": [{"name": "gate", "points": [[0.1, 0.5], [0.9, 0.5]], "source": "cam"}]}
    entries["zone"] = [{"name": "hall", "points": [[0, 0], [9, 0], [9, 9]]}]
    expected = (Area("gate", ((0.1, 0.5), (0.9, 0.5)), "cam"), Area("hall", ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))))
    (tmp_path / "areas.json").write_text(json.dumps(entries))
    assert read_areas(tmp_path / "areas.json") == expected
    pytest.importorskip("tomllib")
    (tmp_path / "areas.toml").write_text(
        '[[line]]\nname = "gate"\npoints = [[0.1, 0.5], [0.9, 0.5]]\nsource = "cam"\n'
        '[[zone]]\nname = "hall"\npoints = [[0, 0], [9, 0], [9, 9]]\n'
    )
    assert read_areas(tmp_path / "areas.toml") == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "{}", 'ends in ".txt", expected ".json" or ".toml"'),
        ("a.json", "{}", "has neither a line nor a zone"),
        ("a.json", "{", "is not a file of lines and zones"),
        ("a.json", "[" * 100_000, "is not a file of lines and zones"),
        ("a.json", '{"lines": []}', "is not a file of lines and zones"),
        ("a.json", '{"line": [{"name": "a", "points": [[1, 2]]}]}', 'Line "a" has 1 points'),
        ("a.json", " " * 1_100_000, "has more than 1048576 bytes"),
    ],
)
def test_a_broken_file_of_areas_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    """With its name and what was expected."""
    (tmp_path / name).write_text(content)
    with pytest.raises(RkdeployError) as refused:
        read_areas(tmp_path / name)
    assert message in refused.value.message


def test_further_models_look_at_results_above_the_threshold(place: Path) -> None:
    """The dim spot continues its track and is not looked at: its `then` is null."""
    make_brightness_bundle(place / "light")
    result = rkdeploy("run", "spot", "images", "--track", "--then", "light", "--json", cwd=place)
    assert result.returncode == 0, result.stderr
    found = [json.loads(line)["detections"][0] for line in result.stdout.splitlines()]
    assert [one["track_id"] for one in found] == [1] * 5
    assert [one["then"] is None for one in found] == [False, False, True, False, False]
