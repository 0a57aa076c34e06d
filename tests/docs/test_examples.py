"""Every file of docs/examples runs as its first lines say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from rkdeploy.contract.bundle import Bundle
from tests.api.test_front import write_video
from tests.device.stream.test_sources_live import Mjpeg
from tests.docs.pages import ROOT, read

EXAMPLES = ROOT / "docs" / "examples"
TESTED = {"count_line_crossings.py", "service.py", "folder_to_coco.py", "two_cameras.py", "compare_bundles.py"}


def run(name: str, *arguments: str | Path) -> str:
    """Output of a program."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_each_has_a_test_and_a_row() -> None:
    """A new example is tested, and found on the page."""
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert files == TESTED
    page = read("docs/python.md")
    assert files <= set(re.findall(r"\[(\w+\.py)\]\(examples/", page))


def test_count_line_crossings(sample_bundle: Bundle, tmp_path: Path) -> None:
    """A video with every frame drawn, and two numbers."""
    video, drawn = write_video(tmp_path, 8), tmp_path / "out.mp4"
    assert re.fullmatch(r"in: \d+, out: \d+\n", run("count_line_crossings.py", sample_bundle.folder, video, drawn))
    capture = cv2.VideoCapture(str(drawn))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 8


def test_a_moving_object_is_counted(sample_bundle: Bundle, tmp_path: Path) -> None:
    """A picture that moves down carries its objects across the middle: all are counted in one direction."""
    image = cv2.imread(str(ROOT / "calib_data" / "images" / "val" / "val_0000.jpg"))
    assert image is not None
    path = tmp_path / "moving.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    for step in range(60):
        moved = cv2.warpAffine(image, np.array([[1, 0, 0], [0, 1, 8 * step - 240]], np.float32), (640, 480))
        writer.write(moved)
    writer.release()
    printed = run("count_line_crossings.py", sample_bundle.folder, path, tmp_path / "out.mp4")
    numbers = re.findall(r"\d+", printed)
    assert sum(map(int, numbers)) >= 3
    assert 0 in map(int, numbers)


def test_service(sample_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image gives its objects; what is not an image, or too large, is refused with its code."""
    from fastapi.testclient import TestClient

    monkeypatch.setenv("BUNDLE", str(sample_bundle.folder))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import service

    image = (ROOT / "calib_data" / "images" / "val" / "val_0000.jpg").read_bytes()
    with TestClient(service.app) as client:
        found = client.post("/detect", content=image).json()
        assert len(found["detections"]) == 11
        assert client.post("/detect", content=b"no image").status_code == 422
        assert client.post("/detect", content=b"").status_code == 422
        monkeypatch.setattr(service, "LARGEST", 1000)
        assert client.post("/detect", content=image).status_code == 413


def test_folder_to_coco(sample_bundle: Bundle, tmp_path: Path) -> None:
    """A file that pycocotools opens, with all images."""
    output = tmp_path / "found.json"
    printed = run("folder_to_coco.py", sample_bundle.folder, ROOT / "calib_data" / "images" / "val", output)
    images = len(list((ROOT / "calib_data" / "images" / "val").glob("*.jpg")))
    opened = COCO(str(output))
    assert len(opened.getImgIds()) == images
    assert printed == f"{images} images, {len(opened.getAnnIds())} objects: {output}\n"
    assert json.loads(output.read_text(encoding="utf-8"))["categories"][0]["id"] == 1


@pytest.fixture
def cameras() -> Iterator[tuple[Mjpeg, Mjpeg]]:
    """Two loopback cameras, motion JPEG over HTTP."""
    both = Mjpeg(), Mjpeg()
    for camera in both:
        camera.start()
    yield both
    for camera in both:
        camera.stop()


def test_two_cameras(cameras: tuple[Mjpeg, Mjpeg], sample_bundle: Bundle, tmp_path: Path) -> None:
    """Both are seen, and the video has both halves."""
    urls = [f"http://127.0.0.1:{camera.port}/{name}" for camera, name in zip(cameras, ("l", "r"), strict=True)]
    output = tmp_path / "both.avi"
    counts = json.loads(run("two_cameras.py", sample_bundle.folder, *urls, output, "24").replace("'", '"'))
    assert sum(counts.values()) == 24
    assert min(counts.values()) >= 6
    capture = cv2.VideoCapture(str(output))
    read_it, picture = capture.read()
    assert read_it
    assert picture.shape == (360, 1280, 3)


def test_compare_bundles(sample_bundle: Bundle, sample_pose_bundle: Bundle, tmp_path: Path) -> None:
    """Two models on the same images: predictions, counts, and the images on which they differ."""
    images = tmp_path / "images"
    images.mkdir()
    for file in sorted((ROOT / "calib_data" / "images" / "val").glob("*.jpg"))[:3]:
        (images / file.name).write_bytes(file.read_bytes())
    bundles = sample_bundle.folder, sample_pose_bundle.folder
    lines = run("compare_bundles.py", *bundles, images, "onnxruntime").splitlines()
    assert len([line for line in lines if line.endswith("predicted")]) == 2
    assert len([line for line in lines if line.endswith("objects more or fewer")]) == 3
