"""Plates and pages are read and faces are named: constructed networks, built by the vendor's toolkit, on drawn scenes.

Every text and name is right, in floating point and as INT8 in the vendor's simulator.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from tests.command_line import rkdeploy
from tests.device.chain.constructed_networks import (
    FACE,
    READER_HW,
    SIGN,
    area_network,
    face_vector_network,
    marks_network,
    reader_network,
)
from tests.device.chain.drawn_signs import CHARACTERS, DrawnText, face_scene, sign_scene, text_page

SCENES = 6
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, their texts (`.gt`), and the bundles of three networks."""
    place = tmp_path_factory.mktemp("reading")
    networks = {
        "signs": marks_network(SIGN),
        "areas": area_network(),
        "reader": reader_network(),
        "faces": marks_network(FACE),
        "vector": face_vector_network(),
    }
    for name, network in networks.items():
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
    _keep_faces(place, rng)
    common = ("--target", "rk3588", "-q")
    for words in (
        ("signs.onnx", "--anchors", "136,44", "--names", "names.txt", "--calib", "streets"),
        ("areas.onnx", "--preset", "ppocr-det", "--calib", "pages"),
        ("faces.onnx", "--anchors", "104,104", "--names", "names.txt", "--calib", "people"),
        ("vector.onnx", "--preset", "arcface", "--calib", "people"),
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


@pytest.mark.parametrize("backend", ["onnxruntime", "simulator"])
def test_every_face_is_named(place: Path, backend: str) -> None:
    """Faces aligned by their landmarks: each is nearest to its own picture in the gallery, and far from the others."""
    words = ("run", "build/faces-rk3588-int8", "people", "--then", "build/vector-rk3588-int8", "--gallery", "known")
    result = rkdeploy(*words, "--match", "0.5", "--backend", backend, "--json", cwd=place)
    assert result.returncode == 0, result.stderr
    for line in map(json.loads, result.stdout.splitlines()):
        matches = [one["then"]["match"] for one in sorted(line["detections"], key=lambda one: one["xyxy"][0])]
        assert [one["name"] for one in matches] == Path(line["source"]).stem.split("_")[1:]
        for one in matches:
            nearest, second = (near["cosine"] for near in one["nearest"][:2])
            assert nearest > 0.7 > second + 0.2


def _keep_faces(place: Path, rng: np.random.Generator) -> None:
    """A gallery of four people, and scenes that are called by those in them."""
    for folder in ("people", "known"):
        (place / folder).mkdir()
    for person in range(4):
        cv2.imwrite(str(place / "known" / f"p{person}.png"), face_scene(rng, (person,)))
        pair = (person, (person + 1) % 4)
        cv2.imwrite(str(place / "people" / f"{person}_p{pair[0]}_p{pair[1]}.png"), face_scene(rng, pair))


def _keep(folder: Path, number: int, scene: tuple[np.ndarray, list[DrawnText]]) -> None:  # type: ignore[type-arg]  # uint8
    cv2.imwrite(str(folder / f"{number}.png"), scene[0])
    (folder / f"{number}.gt").write_text(" ".join(one.text for one in scene[1]))


def _straight(image: np.ndarray, one: DrawnText) -> np.ndarray:  # type: ignore[type-arg]  # uint8
    """A sign as the reader gets it."""
    height, width = READER_HW
    target = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32) - np.float32(0.5)
    matrix = cv2.getPerspectiveTransform(one.corners - np.float32(0.5), target)
    return cv2.warpPerspective(image, matrix, (width, height))
