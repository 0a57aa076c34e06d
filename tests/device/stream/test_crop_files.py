"""Crops of detections as files: where they are, what is in them, and how many there can be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import CaptureTime, Frame
from rkdeploy.device.stream.sinks.crop_files import CropFilesSink
from tests.cli.test_run import run, write_video

NAMES = ("person", "a/b", "..", "螺母")
CAPTURED = CaptureTime(1_764_500_000.25, 0.0)


def found(*boxes: tuple[float, float, float, float], class_ids: tuple[int, ...]) -> Detections:
    return Detections(np.array(boxes, np.float32), np.full(len(boxes), 0.9, np.float32), np.array(class_ids, np.int32))


def picture(source: str, index: int, origin: int = 0) -> Frame:
    """40x30, the brightness grows by 6 from column to column."""
    row = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None] * 6, 30, 0)
    return Frame(np.repeat(row, 3, 2), source, index, None, origin, CAPTURED)


def sink(folder: Path, limit: int = 100, *, live: bool = False, told: list[str] | None = None) -> CropFilesSink:
    return CropFilesSink(folder, NAMES, limit, live=live, notify=(told if told is not None else []).append)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def test_crops_lie_in_the_folder_of_their_class(tmp_path: Path) -> None:
    """Named by source, frame and object; a class name cannot lead elsewhere; boxes are clipped, empty ones left out."""
    with sink(tmp_path / "o") as crops:
        boxes = ((9.6, 4.4, 20.4, 14.6), (30, 20, 60, 60), (5, 5, 5, 9), (-9, -9, 3, 3))
        crops.write(picture("in/clip one.mp4", 12), found(*boxes, class_ids=(0, 1, 0, 2)))
        crops.write(picture("in/other.jpg", 3, origin=1), found((0, 0, 8, 8), class_ids=(3,)))
        crops.write(picture("in/clip one.mp4", 13), Detections.empty())
    assert files(tmp_path / "o") == [
        "2/clip_one_000012_3.jpg",
        "a_b/clip_one_000012_1.jpg",
        "person/clip_one_000012_0.jpg",
        "螺母/other_1_000003_0.jpg",
    ]
    crop = cv2.imread(str(tmp_path / "o" / "person" / "clip_one_000012_0.jpg"))
    assert crop is not None
    assert crop.shape == (11, 10, 3)
    assert crop[:, 0].mean() == pytest.approx(60, abs=4)
    assert crop[:, -1].mean() == pytest.approx(114, abs=4)


def test_crops_of_a_camera_have_the_time(tmp_path: Path) -> None:
    """Frame numbers begin again with each run, times do not; an address has no password and no slash."""
    with sink(tmp_path, live=True) as crops:
        crops.write(picture("rtsp://***@10.0.0.7:554/cam1?x=1", 12), found((0, 0, 8, 8), class_ids=(0,)))
    (name,) = files(tmp_path)
    assert name == "person/_10.0.0.7_554_cam1_20251130T105320.250000Z_0.jpg".replace("person/_", "person/")


def test_crops_have_a_limit(tmp_path: Path) -> None:
    """Beyond it they are counted: said once when it is reached, and with the number at the end."""
    told: list[str] = []
    with sink(tmp_path, 3, told=told) as crops:
        for i in range(5):
            crops.write(picture("v.mp4", i), found((0, 0, 8, 8), (8, 8, 16, 16), class_ids=(0, 0)))
    assert len(files(tmp_path)) == 3
    assert len(told) == 2
    assert "3 crops are written" in told[0]
    assert told[1].startswith("7 crops beyond --save-crops-limit 3 were not written")


def test_a_run_with_crops_of_some_classes(tmp_path: Path) -> None:
    """`--classes` limits what every sink gets, by name or id; a name that the model lacks is refused with others."""
    video = write_video(tmp_path / "v.avi", 3)
    kept = run(video, "--save-crops", tmp_path / "o", "--classes", "value 7,1", "--json")
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.count('"class_name": "value 7"') == 3
    assert f"Crops: {tmp_path / 'o'}" in kept.stderr.replace("\n", "")
    others = run(video, "--classes", "1", "--json")
    assert others.stdout.count('"detections": []') == 3
    refused = run(video, "--classes", "zebra,0", "--json")
    assert refused.returncode == 1
    assert 'no class "zebra"' in refused.stderr
