"""A gallery in a run: of a model alone and in a chain, by the command and by the library."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper, numpy_helper

import rkdeploy as library
from rkdeploy.contract.formulas import EmbeddingFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec, NpuModel
from rkdeploy.errors import RkdeployError
from tests.accuracy.tiny_model import make_bundle
from tests.command_line import rkdeploy
from tests.device.chain.chain_bundles import write_bundle

COLORS = ModelSpec(
    family="onnx",
    task="embedding",
    class_names=("embedding",),
    input=InputSpec("images", 16, 16, fit="stretch"),
    outputs=(HeadOutput("embedding", "embedding", 0, 16, (1, 3, 1, 1)),),
    embedding=EmbeddingFormula(),
    model=NpuModel("best.rknn", "rk3588", "int8"),
)
PAINTS = {"red": (20, 20, 230), "blue": (230, 20, 20)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose embedding is the mean color, a detector, a gallery of two colors, and three images."""
    place = tmp_path_factory.mktemp("gallery")
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Sub", ["mean", "half"], ["embedding"]),
    ]
    write_bundle(
        place / "colors", COLORS, nodes, [numpy_helper.from_array(np.full((1, 1, 1, 1), 0.5, np.float32), "half")]
    )
    make_bundle(place / "detector")
    for name, paint in PAINTS.items():
        (place / "known" / name).mkdir(parents=True)
        cv2.imwrite(str(place / "known" / name / "1.png"), np.full((64, 64, 3), paint, np.uint8))
    (place / "known" / "broken.png").write_bytes(b"no picture")
    (place / "images").mkdir()
    for name, paint in (("a", (40, 30, 200)), ("b", (210, 60, 30)), ("c", (220, 220, 220))):
        cv2.imwrite(str(place / "images" / f"{name}.png"), np.full((64, 64, 3), paint, np.uint8))
    return place


def test_the_command_names_images(place: Path) -> None:
    """Names in JSON, in the summary and in the drawing; a picture that cannot be read is left out with a warning."""
    words = ("run", "colors", "images", "--gallery", "known", "--json", "--save", "drawn", "--save-gallery", "g.npz")
    result = rkdeploy(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["match"]["name"] for line in lines] == ["red", "blue", None]
    assert [one["name"] for one in lines[0]["match"]["nearest"]] == ["red", "blue"]
    assert lines[0]["match"]["cosine"] == pytest.approx(0.98, abs=0.02)
    assert np.linalg.norm(lines[0]["embedding"]) == pytest.approx(1, abs=1e-4)
    assert "match 1 red, 1 blue, 1 unknown" in result.stderr
    assert "broken.png" in result.stderr
    drawn, source = (cv2.imread(str(place / folder / "a.png")) for folder in ("drawn", "images"))
    assert drawn is not None
    assert source is not None
    assert (drawn[40:] != source[40:]).any()  # the line at the lower edge
    again = rkdeploy(
        "run", "colors", "images", "--gallery", "g.npz", "--match", "0.999", "--json", "--no-embeddings", cwd=place
    )
    assert [json.loads(line)["match"]["name"] for line in again.stdout.splitlines()] == [None, None, None]
    assert "embedding" not in again.stdout


def test_a_chain_names_what_it_finds(place: Path) -> None:
    words = ("run", "detector", "images", "--then", "colors", "--gallery", "known")
    result = rkdeploy(*words, "-o", "out.jsonl", cwd=place)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (place / "out.jsonl").read_text().splitlines()]
    found = [one["then"]["match"]["name"] for line in lines[:2] for one in line["detections"]]
    assert set(found[:1]) == {"red"}
    assert "blue" in found
    printed = rkdeploy(*words, cwd=place).stderr
    assert "a.png [0]: 1 bolt (red)" in printed


def test_the_library(place: Path) -> None:
    with library.load(place / "colors", backend="onnxruntime", gallery=place / "known") as model:
        result = model(place / "images" / "a.png")
        assert result.match is not None
        assert (result.match.name, result.match.nearest[1][0]) == ("red", "blue")
        assert result.embedding is not None
        assert result.embedding.dtype == np.float32
        names = [one.match and one.match.name for one in model.stream(place / "images")]
        assert names == ["red", "blue", None]
    with library.load(
        place / "detector", backend="onnxruntime", then=place / "colors", gallery=place / "known"
    ) as model:
        (box,) = model(place / "images" / "b.png").boxes
        assert box.then is not None
        assert box.then.match is not None
        assert box.then.match.name == "blue"


def test_what_cannot_be_searched(place: Path) -> None:
    with pytest.raises(RkdeployError, match="needs a model that gives embeddings"):
        library.load(place / "detector", backend="onnxruntime", gallery=place / "known")
    (place / "empty").mkdir()
    with pytest.raises(RkdeployError, match="has 0 pictures"):
        library.load(place / "colors", backend="onnxruntime", gallery=place / "empty")
    (place / "bad").mkdir()
    (place / "bad" / "x.png").write_bytes(b"no picture")
    with pytest.raises(RkdeployError, match="No picture"):
        library.load(place / "colors", backend="onnxruntime", gallery=place / "bad")
    refused = rkdeploy("run", "colors", "images", "--save-gallery", "g.npz", cwd=place)
    assert "--save-gallery is given without a gallery" in refused.stderr
