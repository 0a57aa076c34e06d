"""Ids, lines and zones of a stream in Python, and in other programs' forms."""

from __future__ import annotations

import importlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import rkdeploy
from rkdeploy.api.tracking import tracking_settings
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.tracking.found_tracks import FoundTracks
from rkdeploy.errors import RkdeployError
from tests.accuracy.tiny_model import SPEC
from tests.api.found import ROTATED, XYXY, result
from tests.device.tracking.moving_spot import make_spot_bundle, write_pictures

TRACKS = FoundTracks(np.array([7, 0], np.int32), ((), ()), ({}, {}))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.uint8]]:
    """A spot that goes to the right, and stands and is dim in the third picture."""
    folder = tmp_path_factory.mktemp("pictures") / "spot"
    write_pictures(folder, [0, 1, 1, 2, 3], [230, 230, 50, 230, 230])
    return [np.asarray(cv2.imread(str(folder / f"{i}.png")), np.uint8) for i in range(5)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A detector of the spot."""
    folder = tmp_path_factory.mktemp("bundle") / "spot"
    make_spot_bundle(folder)
    return str(folder)


@pytest.mark.parametrize("per_class", [False, True])
def test_classes_are_tracked_together_unless_a_program_wants_them_apart(per_class: bool) -> None:
    """As `--track-per-class`."""
    tracking = tracking_settings(
        SPEC,
        Thresholds(),
        track=True,
        track_buffer=1.0,
        track_low=0.1,
        track_per_class=per_class,
        lines=None,
        zones=None,
        anchor="center",
    )
    assert tracking is not None
    assert tracking.tracker.per_class is per_class


def test_a_stream_with_ids_lines_and_zones(bundle: str, pictures: list[NDArray[np.uint8]]) -> None:
    """The dim spot is found since it continues the track; without tracking it is not."""
    with rkdeploy.load(bundle, backend="onnxruntime") as model:
        plain = [len(one) for one in model.stream(pictures)]
        right = [(16, 0), (32, 0), (32, 32), (16, 32)]
        tracked = list(model.stream(pictures, lines={"middle": [(0.5, 1), (0.5, 0)]}, zones={"right": right}))
    assert plain == [1, 1, 0, 1, 1]
    assert [[box.track_id for box in one.boxes] for one in tracked] == [[1]] * 5
    assert [[crossing.direction for crossing in one.crossings] for one in tracked] == [[], [], [], ["in"], []]
    assert tracked[-1].lines[0].entered == {0: 1}
    assert tracked[-1].zones[0].inside == {0: 1}
    assert tracked[-1].to_dict()["lines"] == [{"name": "middle", "in": {"bolt": 1}, "out": {}}]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lines": {"gate": [(1, 2)]}}, 'Line "gate" has 1 points'),
        ({"zones": {"hall": [1, 2, 3]}}, '"hall" has points that are not pairs'),
        ({"track": True, "track_buffer": -1.0}, "track_buffer is -1.0, expected 0 to 3600"),
        ({"track": True, "track_low": 2.0}, "track_low is 2.0, expected a number from 0 to 1"),
        ({"track": True, "anchor": "top"}, 'anchor is "top", expected "center" or "bottom"'),
    ],
)
def test_wrong_values_are_refused_at_once(bundle: str, keywords: dict[str, object], message: str) -> None:
    """Not when the first result is asked for."""
    with rkdeploy.load(bundle, backend="onnxruntime") as model, pytest.raises(RkdeployError, match=message):
        model.stream([], **keywords)  # type: ignore[arg-type]  # what a program may get wrong


def test_boxes_have_ids() -> None:
    """0 in the arrays and None in a box where an object has none; None without tracking."""
    found = result(tracks=TRACKS)
    assert found.boxes.track_id is not None
    assert found.boxes.track_id.tolist() == [7, 0]
    assert [box.track_id for box in found.boxes] == [7, None]
    assert result().boxes.track_id is None
    assert [box.track_id for box in result().boxes] == [None, None]
    assert (found.lines, found.zones, found.crossings) == ((), (), ())


def test_supervision_gets_ids() -> None:
    """In `tracker_id`, -1 for none."""
    importlib.import_module("supervision")
    found = result(tracks=TRACKS).to_supervision()
    assert found.tracker_id is not None
    assert found.tracker_id.tolist() == [7, -1]
    assert result().to_supervision().tracker_id is None


def test_ultralytics_gets_ids() -> None:
    """As float32 behind the geometry; objects without an id are left out, as there."""
    seen = result(tracks=TRACKS).to_ultralytics()
    assert seen.boxes is not None
    assert seen.boxes.id is not None
    assert (seen.boxes.is_track, seen.boxes.id.tolist(), seen.boxes.cls.tolist()) == (True, [7.0], [1.0])
    np.testing.assert_array_equal(seen.boxes.data, [[*XYXY[0], 7, np.float32(0.9), 1]])
    turned = replace(result(rotated=ROTATED), detections=replace(result(rotated=ROTATED).detections, tracks=TRACKS))
    obb = turned.to_ultralytics().obb
    assert obb is not None
    assert obb.id is not None
    assert (obb.is_track, obb.id.tolist(), obb.data.shape) == (True, [7.0], (1, 8))
    plain = result().to_ultralytics().boxes
    assert plain is not None
    assert (plain.is_track, plain.id, plain.data.shape) == (False, None, (2, 6))
