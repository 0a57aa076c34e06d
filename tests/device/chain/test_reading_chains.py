"""Plates and pages are read: constructed networks, built by the vendor's toolkit, on drawn scenes.

Every text is right, in floating point by both backends and as INT8 in the vendor's simulator.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.command_line import rkdeploy
from tests.device.chain.constructed_networks import READER_HW, area_network, reader_network, sign_network
from tests.device.chain.drawn_signs import CHARACTERS, DrawnText, sign_scene, text_page

SCENES = 6
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, their texts (`.gt`), and the bundles of three networks."""
    place = tmp_path_factory.mktemp("reading")
    for name, network in (("signs", sign_network()), ("areas", area_network()), ("reader", reader_network())):
        onnx.save(network, str(place / f"{name}.onnx"))
    (place / "names.txt").write_text("plate\n")
    (place / "characters.txt").write_text("".join(f"{letter}\n" for letter in CHARACTERS))
    rng = np.random.default_rng(3)
    for folder in ("streets", "pages", "lines"):
        (place / folder).mkdir()
    for i in range(SCENES):
        _keep(place / "pages", i, text_page(rng, 3))
        image, found = sign_scene(rng, 1 + i % 2)
        _keep(place / "streets", i, (image, found))
        for one in found:
            cv2.imwrite(str(place / "lines" / f"{one.text}.png"), _straight(image, one))
    common = ("--target", "rk3588", "-q")
    for words in (
        ("signs.onnx", "--anchors", "136,44", "--names", "names.txt", "--calib", "streets"),
        ("areas.onnx", "--preset", "ppocr-det", "--calib", "pages"),
        ("reader.onnx", "--preset", "ctc-blank-last", "--characters", "characters.txt", "--calib", "lines"),
    ):
        built = rkdeploy("build", *words, *common, cwd=place)
        assert built.returncode == 0, built.stderr
    return place


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv_dnn", "simulator"])
@pytest.mark.parametrize(("detector", "folder"), [("signs", "streets"), ("areas", "pages")])
def test_every_text_is_right(place: Path, detector: str, folder: str, backend: str) -> None:
    """Plates by their four corners, lines by their rotated boxes; the answers are in the order from top to bottom."""
    result = rkdeploy(
        "run",
        f"build/{detector}-rk3588-int8",
        folder,
        "--then",
        "build/reader-rk3588-int8",
        "--backend",
        backend,
        "--json",
        cwd=place,
    )
    assert result.returncode == 0, result.stderr
    for line in map(json.loads, result.stdout.splitlines()):
        found = sorted(line["detections"], key=lambda one: one["xyxy"][1] + one["xyxy"][3])
        wanted = (place / line["source"]).with_suffix(".gt").read_text().split()
        assert [one["then"]["text"]["text"] for one in found] == wanted, line["source"]


def _keep(folder: Path, number: int, scene: tuple[np.ndarray, list[DrawnText]]) -> None:  # type: ignore[type-arg]  # uint8
    cv2.imwrite(str(folder / f"{number}.png"), scene[0])
    (folder / f"{number}.gt").write_text(" ".join(one.text for one in scene[1]))


def _straight(image: np.ndarray, one: DrawnText) -> np.ndarray:  # type: ignore[type-arg]  # uint8
    """A sign as the reader gets it."""
    height, width = READER_HW
    target = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(one.corners - np.float32(0.5), target)
    return cv2.warpPerspective(image, matrix, (width, height))
