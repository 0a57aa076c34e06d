"""`rkdeploy inspect` of every sort of file: what it is, and whether it builds."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from rkdeploy.analysis.inspection.built_file import inspect_bundle, inspect_rknn
from rkdeploy.analysis.inspection.checkpoint_file import inspect_checkpoint
from rkdeploy.analysis.inspection.inspection import INSPECTIONS, OnnxInspection, RknnInspection
from rkdeploy.analysis.inspection.onnx_file import inspect_onnx
from rkdeploy.cli.main import app
from rkdeploy.contract.documents import document_text, read_document
from rkdeploy.contract.embedded_contract import contract_digest, custom_string
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from tests.host.building.fork_graphs import exported, separate
from tests.host.families.vectors import vectors
from tests.hostile import forge

DATA = Path(__file__).parents[2] / "data"


def contract() -> ModelSpec:
    network = open_network(DATA / "yolov5" / "v7_n.pt", imgsz=(64, 64))
    return network.contract(cut(network.simplified, network.head, CutOptions())[1])


def write_rknn(path: Path, text: str) -> Path:
    """A file with the header, custom string and trailer of a `.rknn`, and nothing between."""
    body = bytes(100) + struct.pack("<I", len(text)) + text.encode() + bytes(50)
    trailer = json.dumps({"version": "2.5.0", "target_platform": ["RK3588"]}).encode()
    header = b"RKNN".ljust(8, b"\0") + struct.pack("<QQ", 6, len(body))
    path.write_bytes(header.ljust(64, b"\0") + body + struct.pack("<Q", len(trailer)) + trailer)
    return path


def test_rknn_of_ours(tmp_path: Path) -> None:
    """A `.rknn` says its target, its toolkit and the essential contract."""
    spec = contract()
    found = inspect_rknn(write_rknn(tmp_path / "best.rknn", custom_string(spec)))
    rows = dict(found.rows)
    assert (rows["target"], rows["toolkit"], rows["task"]) == ("rk3588", "2.5.0", "detect")
    assert rows["contract"] == contract_digest(spec)
    assert isinstance(found.document, RknnInspection)
    assert found.document.contract is not None
    assert found.document.contract["classes"] == len(spec.class_names)


@pytest.mark.parametrize("text", ["", '{"rkdeploy":1,', '{"other":1}', '{"rkdeploy":[[[['])
def test_rknn_of_somebody_else(text: str, tmp_path: Path) -> None:
    """A model without our contract, or with a broken one, is reported as foreign; its target is still read."""
    found = inspect_rknn(write_rknn(tmp_path / "best.rknn", text))
    rows = dict(found.rows)
    assert "something else than rkdeploy" in rows["built by"]
    assert rows["target"] == "rk3588"
    assert isinstance(found.document, RknnInspection)
    assert found.document.contract is None


def test_rknn_whose_string_lies_about_its_length(tmp_path: Path) -> None:
    """A length beyond the limit, or beyond the file, gives no contract and no error."""
    file = write_rknn(tmp_path / "best.rknn", custom_string(contract()))
    data = bytearray(file.read_bytes())
    place = data.index(b'{"rkdeploy":') - 4
    for length in (0, 1024, 1 << 31):
        data[place : place + 4] = struct.pack("<I", length)
        file.write_bytes(data)
        document = inspect_rknn(file).document
        assert isinstance(document, RknnInspection)
        assert document.contract is None


def test_not_a_bundle(tmp_path: Path) -> None:
    """A folder without a contract is refused with what it is not."""
    with pytest.raises(RkdeployError, match=r"is not a bundle: it has no contract\.json"):
        inspect_bundle(tmp_path)


def test_onnx_that_builds() -> None:
    """Classes, strides, anchors and what proves the decode; the answer of a build, without building."""
    found = inspect_onnx(DATA / "onnx" / "v7_opset17_simplify.onnx")
    rows = dict(found.rows)
    assert (found.builds, found.needed) == (True, "")
    assert rows["classes"] == "3: bolt, nut, washer"
    assert rows["strides"] == "8 16"
    assert rows["decode"].startswith("in the graph")
    assert isinstance(found.document, OnnxInspection)
    assert found.document.model is not None
    assert found.document.model.task == "detect"


def test_onnx_of_free_size() -> None:
    """A graph of free size builds with a size, and says so."""
    found = inspect_onnx(DATA / "onnx" / "v6_2_dynamic.onnx")
    assert found.builds
    assert "--imgsz" in found.needed


@pytest.mark.parametrize(
    ("name", "presets"), [("ppyoloe", "ppyoloe or ppyoloe-plus or yolo-nas"), ("rtmdet_raw", "rtmdet")]
)
def test_onnx_that_needs_a_preset(name: str, presets: str) -> None:
    """The presets that fit are named, proven decode or not."""
    found = inspect_onnx(DATA / "cells" / f"{name}.onnx")
    assert found.builds
    assert found.needed == f"what prepared its images: --preset {presets}"


@pytest.mark.parametrize(
    ("name", "task", "presets"),
    [
        ("db_training", "text_areas", "--preset ppocr-det"),
        ("db_head", "a mask or areas of text: --preset says it", "--preset mask or ppocr-det"),
    ],
)
def test_onnx_whose_map_a_preset_explains(name: str, task: str, presets: str) -> None:
    """One probability per pixel may mean several things; the three maps of a DB head mean one."""
    found = inspect_onnx(DATA / "areas" / f"{name}.onnx")
    assert ("task", task) in found.rows
    assert isinstance(found.document, OnnxInspection)
    assert found.document.needed.endswith(presets)


def test_onnx_of_a_fork(tmp_path: Path) -> None:
    """Raw tensors build, unproven."""
    file = separate(exported(DATA / "ultralytics" / "old_8_0_0.pt", (64, 96)), sums=True).save(tmp_path / "best.onnx")
    found = inspect_onnx(file)
    assert found.builds
    assert isinstance(found.document, OnnxInspection)
    assert found.document.model is not None
    assert found.document.model.proves_decode is False
    assert "unproven without --weights" in dict(found.rows)["decode"]


def test_onnx_that_does_not_build(tmp_path: Path) -> None:
    """Inputs and outputs are shown, and why a build refuses it."""
    found = inspect_onnx(DATA / "onnx" / "v4_raw.onnx")
    assert found.builds is False
    assert found.refusal is not None
    assert "--weights" in found.refusal.hint
    assert "images (1, 3, " in dict(found.rows)["inputs"]
    model = onnx.load(DATA / "onnx" / "v7_opset17_simplify.onnx")
    del model.graph.node[:]
    (tmp_path / "empty.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(RkdeployError, match="no nodes"):
        inspect_onnx(tmp_path / "empty.onnx")


def test_checkpoint_with_an_unknown_block(tmp_path: Path) -> None:
    """A layer without an emitter is found without writing the graph."""
    forgery = forge.Forgery()
    forgery.layer("2").__class__ = forge.named("models.common", "SomethingNew")
    found = inspect_checkpoint(forgery.write(tmp_path / "new.pt"))
    assert found.builds is False
    assert found.refusal is not None
    assert 'Block "models.common.SomethingNew" at "model.2"' in found.refusal.message
    assert inspect_checkpoint(DATA / "yolov5" / "v7_n.pt").builds


def test_every_recorded_checkpoint_has_known_layers() -> None:
    """Files that build are reported as buildable."""
    for vector in vectors():
        assert inspect_checkpoint(vector.checkpoint, vector.cfg).builds, vector.key


def test_printed(tmp_path: Path) -> None:
    """One table for people, one document for programs, an error for a file that is nothing."""
    run = CliRunner().invoke
    shown = run(app, ["inspect", str(DATA / "onnx" / "v4_raw.onnx")])
    assert shown.exit_code == 0
    assert "builds" in shown.stdout
    assert "no decode" in shown.stdout
    document = json.loads(run(app, ["inspect", "--json", str(DATA / "yolov5" / "v7_n.pt")]).stdout)
    assert (document["document"], document["family"]) == ("rkdeploy inspect checkpoint", "yolov5")
    assert document["refused"] is None
    (tmp_path / "x.rknn").write_bytes(b"RKNN")
    failed = run(app, ["inspect", str(tmp_path / "x.rknn")])
    assert isinstance(failed.exception, RkdeployError)


def test_every_document_is_read_again(tmp_path: Path) -> None:
    """The one reader of documents reads the output of --json to equal values, whatever the file."""
    found = [
        inspect_checkpoint(DATA / "yolov5" / "v7_n.pt"),
        inspect_checkpoint(DATA / "ultralytics" / "old_8_0_0.pt"),
        inspect_onnx(DATA / "onnx" / "v7_opset17_simplify.onnx"),
        inspect_onnx(DATA / "onnx" / "v4_raw.onnx"),
        inspect_rknn(write_rknn(tmp_path / "best.rknn", custom_string(contract()))),
    ]
    for number, one in enumerate(found):
        file = tmp_path / f"{number}.json"
        file.write_text(document_text(one.document))
        assert read_document(file, INSPECTIONS, "") == one.document
