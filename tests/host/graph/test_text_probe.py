"""Text recognizers in ONNX files: found by structure, proven, and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.analysis.inspection.inspect import inspect_file
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from tests.host.graph.text_graphs import recognizer

DIGITS = "0123456789-"


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "text.onnx"
    onnx.save(model, str(path))
    return path


def chosen(path: Path, folder: Path, imgsz: tuple[int, int] | None = None) -> Network:
    (folder / "digits.txt").write_text("\n".join(DIGITS) + "\n", "utf-8")
    opened = open_network(path, imgsz=imgsz)
    return with_choice(opened, InputChoice(preset="ctc", characters=folder / "digits.txt"))


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (1, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("tail", ["plate", "lprnet", "ppocr", "crnn", "vector", "attention"])
def test_found_and_proven(tail: str, tmp_path: Path) -> None:
    """Scores come as (1, K, 1, T) whatever the package's order, and equal the file's own before its softmax."""
    path = saved(recognizer(tail), tmp_path)
    network = chosen(path, tmp_path)
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    assert [output.role for output in outputs] == ["text_logits", *(["class_scores"] if tail == "vector" else [])]
    assert outputs[0].shape == (1, 12, 1, 12)
    assert (spec.task, spec.family, len(spec.class_names)) == ("text", "onnx", 5 if tail == "vector" else 1)
    assert spec.text is not None
    assert "".join(spec.text.characters) == DIGITS
    image = picture(16, 96)
    assert verify(network.reference, network.reference_head, graph, spec, [("noise", image)]).decode_proven
    inputs = {"x": network_input(image, spec)}
    ours = Session(graph).run(inputs)["text_logits"][0, :, 0]
    theirs = Session(onnx.load(str(path))).run(inputs)["text"]
    theirs = theirs[0] if tail == "lprnet" else theirs.reshape(12, 12).T
    assert ours.argmax(axis=0).tolist() == theirs.argmax(axis=0).tolist()


def test_scores_without_change_of_order(tmp_path: Path) -> None:
    """(1, K, 1, T) as it is."""
    assert open_graph(saved(recognizer("map"), tmp_path), None, None, 0).head.kind == "text"


@pytest.mark.parametrize(("tail", "hw", "scores"), [("plate", (96, 96), 12), ("ppocr", (16, 96), 4)])
def test_other_graphs_are_not_text(tail: str, hw: tuple[int, int], scores: int, tmp_path: Path) -> None:
    """A square image, and fewer scores than any dictionary has."""
    path = saved(recognizer(tail, hw, scores), tmp_path)
    with pytest.raises(GraphError):
        open_graph(path, None, None, 0)


def test_free_width_is_pp_ocrs(tmp_path: Path) -> None:
    """48x320 where batch and width are free; --imgsz chooses another."""
    path = saved(recognizer("attention", (48, 320), free=True), tmp_path)
    network = chosen(path, tmp_path)
    assert network.input_hw == (48, 320)
    assert any("320x48" in note for note in network.notes)
    assert network.head.taps[0].shape == (1, 12, 1, 40)
    assert chosen(path, tmp_path, (48, 160)).head.taps[0].shape == (1, 12, 1, 20)


def test_metadata_of_rapidocr(tmp_path: Path) -> None:
    """Its dictionary makes the file PP-OCR's, without a preset; the space comes last."""
    model = recognizer("ppocr")
    entry = model.metadata_props.add()
    entry.key, entry.value = "character", "\n".join("0123456789") + "\n"
    network = with_choice(open_network(saved(model, tmp_path)), InputChoice())
    assert network.head.text is not None
    assert network.head.text.characters == ("", *"0123456789", " ")
    assert (network.family, network.input.fit, network.input.color, network.input.std) == (
        "ppocr", "line", "bgr", (127.5,) * 3,
    )  # fmt: skip


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """The presets that fit by their number of characters; without one --characters; a number that does not fit."""
    path = saved(recognizer("plate", scores=78), tmp_path)
    opened = open_network(path)
    with pytest.raises(RkdeployError, match="78 scores per column") as failed:
        with_choice(opened, InputChoice())
    assert failed.value.hint.count("--preset") == 1
    assert "--preset plate-crnn" in failed.value.hint
    named = with_choice(opened, InputChoice(preset="plate-crnn"))
    assert named.head.text is not None
    assert named.head.text.characters[:3] == ("", "京", "沪")
    other = open_network(saved(recognizer("plate"), tmp_path))
    with pytest.raises(RkdeployError, match="12 scores") as failed:
        with_choice(other, InputChoice())
    assert "--characters" in failed.value.hint
    with pytest.raises(RkdeployError, match="does not name them"):
        with_choice(other, InputChoice(preset="ppocr"))
    few = tmp_path / "few.txt"
    few.write_text("a\nb\n", "utf-8")
    with pytest.raises(RkdeployError, match="2 characters, expected 11 for 12 scores"):
        with_choice(other, InputChoice(preset="ppocr", characters=few))
    with pytest.raises(RkdeployError, match="does not fit a model that reads text"):
        with_choice(other, InputChoice(preset="yolox"))
    few.write_text("a\n\nb\n", "utf-8")
    with pytest.raises(RkdeployError, match="an empty line"):
        with_choice(other, InputChoice(preset="ppocr", characters=few))


def test_a_line_of_characters(tmp_path: Path) -> None:
    """A file of one line has one character per letter; --names is of the attribute's classes."""
    one = tmp_path / "one.txt"
    one.write_text("abcdefghijk", "utf-8")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n", "utf-8")
    opened = open_network(saved(recognizer("vector"), tmp_path))
    network = with_choice(opened, InputChoice(preset="ctc-blank-last", characters=one, names=names))
    assert network.head.text is not None
    assert network.head.text.characters == (*"abcdefghijk", "")
    assert network.class_names == ("a", "b", "c", "d", "e")
    plain = open_network(saved(recognizer("plate"), tmp_path))
    with pytest.raises(RkdeployError, match="no attribute"):
        with_choice(plain, InputChoice(preset="ctc", characters=one, names=names))


def test_inspect_names_what_a_build_needs(tmp_path: Path) -> None:
    """The preset, and the characters where no preset has them; nothing for RapidOCR's files."""
    assert inspect_file(saved(recognizer("plate", scores=78), tmp_path)).needed.endswith("--preset plate-crnn")
    needed = inspect_file(saved(recognizer("ppocr"), tmp_path)).needed
    assert "--preset ppocr or " in needed
    assert "its 11 characters: --characters FILE" in needed
    model = recognizer("ppocr", (48, 320), free=True)
    entry = model.metadata_props.add()
    entry.key, entry.value = "character", "\n".join("0123456789")
    found = inspect_file(saved(model, tmp_path))
    assert (found.builds, found.needed) == (True, "")
