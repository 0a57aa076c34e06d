"""Hostile and broken ONNX files, calibration sets, bundles, sources and options: one clear message, exit code 1."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.hostile.command import assert_refused, build_arguments, run

ROOT = Path(__file__).parents[2]
GOOD_ONNX = ROOT / "tests" / "data" / "onnx" / "v6.onnx"
GOOD_PT = ROOT / "tests" / "data" / "yolov5" / "v7_n.pt"
SAMPLE = ROOT / "calib_data"


# ----------------------------------------------------------------------------------------------------------- ONNX


def changed(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    """The good ONNX file with something changed."""

    def make(path: Path) -> None:
        model = onnx.load(str(GOOD_ONNX))
        change(model)
        path.write_bytes(model.SerializeToString())

    return make


def external(location: str, length: int = 16) -> Callable[[onnx.ModelProto], None]:
    """The first large weight is said to lie in another file."""

    def change(model: onnx.ModelProto) -> None:
        weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            weight.external_data.add(key=key, value=value)

    return change


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 3, 64, 64]))


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[5].output[0]


def input_of(*shape: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        name = model.graph.input[0].name
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    return change


def huge_weight(model: onnx.ModelProto) -> None:
    weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    weight.dims[0] = 1 << 40


def no_head(path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["out"])],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 64, 64])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def names(value: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]
        model.metadata_props.add(key="names", value=value)

    return change


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Backdoor"


def unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "org.pytorch.aten"


def attribute(op: str, name: str, value: object) -> Callable[[onnx.ModelProto], None]:
    """The first node of an operator has another attribute."""

    def change(model: onnx.ModelProto) -> None:
        node = next(n for n in model.graph.node if n.op_type == op)
        for old in [a for a in node.attribute if a.name == name]:
            node.attribute.remove(old)
        node.attribute.append(helper.make_attribute(name, value))

    return change


def expansion(model: onnx.ModelProto) -> None:
    """One number, folded into 2^31 of them."""
    shape = onnx.numpy_helper.from_array(np.array([1 << 31], np.int64), "bomb.shape")
    model.graph.initializer.extend([onnx.numpy_helper.from_array(np.ones(1, np.float32), "bomb.one"), shape])
    one = helper.make_node("Expand", ["bomb.one", "bomb.shape"], ["bomb.all"])
    mean = helper.make_node("ReduceMean", ["bomb.all"], ["bomb.mean"], keepdims=1)
    first = model.graph.node[0]
    added = helper.make_node("Add", [first.input[0], "bomb.mean"], ["bomb.image"])
    first.input[0] = "bomb.image"
    for index, node in enumerate((one, mean, added)):
        model.graph.node.insert(index, node)


def opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


ONNX_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda p: p.write_bytes(b""),
    "folder": lambda p: p.mkdir(),
    "missing": lambda p: None,
    "pipe": os.mkfifo,
    "device": lambda p: p.symlink_to("/dev/zero"),
    "text": lambda p: p.write_text("not a model\n" * 100),
    "checkpoint as ONNX": lambda p: shutil.copy(GOOD_PT, p),
    "truncated": lambda p: p.write_bytes(GOOD_ONNX.read_bytes()[:-1000]),
    "half of it": lambda p: p.write_bytes(GOOD_ONNX.read_bytes()[: GOOD_ONNX.stat().st_size // 2]),
    "no head": no_head,
    "two inputs": changed(second_input),
    "cyclic graph": changed(cycle),
    "external data missing": changed(external("weights.data")),
    "external data outside": changed(external("../../../../../../etc/passwd")),
    "external data at an absolute path": changed(external("/etc/passwd")),
    "external data in a device": changed(external("/dev/zero")),
    "input of another rank": changed(input_of(1, 3, 64)),
    "input of four channels": changed(input_of(1, 4, 64, 64)),
    "input of a batch": changed(input_of(8, 3, 64, 64)),
    "weight of terabytes": changed(huge_weight),
    "names that are code": changed(names("__import__('os').system('touch executed')")),
    "names of brackets": changed(names("[" * 100_000)),
    "names of another number": changed(names("{0: 'a'}")),
    "names that are lists": changed(names("{0: [1], 1: [2], 2: [3]}")),
    "names of half characters": changed(names("{0: '\\ud800', 1: 'b', 2: 'c'}")),
    "output that commands a terminal": changed(lambda m: setattr(m.graph.output[0], "name", "\x1b[2J")),
    "stride 0": changed(attribute("Conv", "strides", [0, 0])),
    "dilation -1": changed(attribute("MaxPool", "dilations", [-1, -1])),
    "group 0": changed(attribute("Conv", "group", 0)),
    "constant of 8 GiB": changed(expansion),
    "unknown operator": changed(unknown_operator),
    "unknown domain": changed(unknown_domain),
    "opset of the future": changed(opset(4000)),
    "opset 0": changed(opset(0)),
}


@pytest.mark.parametrize("make", ONNX_FILES.values(), ids=ONNX_FILES.keys())
def test_broken_onnx_files_are_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    """An ONNX file that is none, lies or has no head ends in one message."""
    file = tmp_path / "hostile.onnx"
    make(file)
    outcome = run(build_arguments(file, tmp_path), tmp_path)
    assert_refused(outcome, tmp_path)
    assert "calibration" not in outcome.stderr, "it passed for good"


@pytest.mark.parametrize("suffix", [".bin", "", ".pt.exe", ".engine"])
def test_other_suffixes_are_refused(suffix: str, tmp_path: Path) -> None:
    """The suffix of a file decides how it is read; other suffixes are refused."""
    file = tmp_path / f"model{suffix}"
    shutil.copy(GOOD_PT, file)
    assert_refused(run(build_arguments(file, tmp_path), tmp_path), tmp_path, says="expected .pt, .pth, .weights")


def test_an_onnx_file_that_is_none_is_refused_by_inspect(tmp_path: Path) -> None:
    """A checkpoint that is named .onnx, and half an ONNX file, end in one message."""
    shutil.copy(GOOD_PT, tmp_path / "best.onnx")
    (tmp_path / "half.onnx").write_bytes(GOOD_ONNX.read_bytes()[:5000])
    for name in ("best.onnx", "half.onnx"):
        assert_refused(run(["inspect", name], tmp_path), tmp_path, says="ONNX")


# ------------------------------------------------------------------------------------------------- calibration sets


def png(width: int, height: int) -> bytes:
    """A PNG that declares a picture of any size, and has a few bytes of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def folder_with(**files: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "calib").mkdir()
        for name, data in files.items():
            (folder / "calib" / name.replace("_dot_", ".")).write_bytes(data)
        return "calib"

    return make


def yaml(content: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "data.yaml").write_text(content)
        return "data.yaml"

    return make


def listed(content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "list.txt").write_bytes(content)
        return "list.txt"

    return make


def special(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        os.mkfifo(folder / name)
        return name

    return make


def hostile_names(folder: Path) -> str:
    (folder / "calib").mkdir()
    for name in ("a\nerror: all is well.jpg", "\x1b[2J\x1b]0;owned\x07.png", "[bold red].jpg", "-rf.jpg", "\udcff.jpg"):
        (folder / "calib" / name).write_bytes(b"no picture")
    return "calib"


def fifo_in_folder(folder: Path) -> str:
    (folder / "calib").mkdir()
    os.mkfifo(folder / "calib" / "a.jpg")
    return "calib"


def link_to_itself(folder: Path) -> str:
    (folder / "calib").mkdir()
    (folder / "calib" / "again").symlink_to(folder / "calib")
    return "calib"


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
CALIBRATIONS: dict[str, Callable[[Path], str]] = {
    "empty folder": folder_with(),
    "missing folder": lambda folder: "nowhere",
    "broken images": folder_with(
        a_dot_jpg=b"\xff\xd8\xff\xe0 broken", b_dot_png=b"\x89PNG\r\n\x1a\nbroken", c_dot_bmp=b"BM"),
    "text as an image": folder_with(a_dot_jpg=b"hello"),
    "decompression bomb": folder_with(a_dot_png=png(60_000, 60_000)),
    "picture without end": folder_with(a_dot_png=png(2**31 - 1, 2**31 - 1)),
    "picture of nothing": folder_with(a_dot_png=png(0, 0)),
    "hostile file names": hostile_names,
    "pipe as an image": fifo_in_folder,
    "folder in itself": link_to_itself,
    "one image": lambda folder: str(SAMPLE / "images" / "val" / "val_0000.jpg"),
    "pipe": special("pipe"),
    "pipe as yaml": special("pipe.yaml"),
    "pipe as list": special("pipe.txt"),
    "device": lambda folder: "/dev/zero",
    "list of missing files": listed(b"nowhere.jpg\n/nowhere/else.png\n"),
    "list of a device": listed(b"/dev/zero\n/dev/stdin\n"),
    "list of bytes": listed(bytes(range(256))),
    "list of nothing": listed(b"# nothing\n"),
    "list with half characters": listed(b"\xff\xfe\n"),
    "yaml that runs python": yaml("train: !!python/object/apply:os.system ['touch executed']\n"),
    "yaml that names python": yaml("train: !!python/name:os.system\n"),
    "yaml that imports": yaml("!!python/module:antigravity\n"),
    "yaml that is none": yaml("train: [\n"),
    "yaml without splits": yaml("nc: 3\n"),
    "yaml of a list": yaml("- train\n"),
    "yaml of a number": yaml("train: 5\n"),
    "yaml that laughs": yaml(LAUGHS + "train: *a29\n"),
    "names that laugh": yaml(LAUGHS + "train: nowhere\nnames: *a29\n"),
    "names with ids that laugh": yaml(LAUGHS + "train: nowhere\nnames: {5: *a29}\n"),
    "yaml that merges without end": yaml(MERGES + "train: nowhere\n"),
    "yaml nested without end": yaml("train: " + "[" * 100_000),
    "yaml of half characters": yaml('train: "\\ud800"\n'),
    "yaml with a NUL": yaml('train: "a\\0b"\n'),
    "yaml of a device": yaml("train: /dev/zero\n"),
    "yaml of a terminal's commands": yaml('train: "\\e[2J\\nerror: owned"\n'),
    "yaml with a long name": yaml(f"train: {'a' * 100_000}\n"),
    "yaml of no place": yaml("path: /nowhere\ntrain: images\n"),
}  # fmt: skip


@pytest.mark.parametrize("make", CALIBRATIONS.values(), ids=CALIBRATIONS.keys())
def test_broken_calibration_sets_are_refused(make: Callable[[Path], str], tmp_path: Path) -> None:
    """A calibration set that is missing, damaged or hostile ends in one message, before anything is built."""
    calib = make(tmp_path)
    assert_refused(run(build_arguments(GOOD_PT, tmp_path, "--calib", calib, "--imgsz", "64"), tmp_path), tmp_path)


# ---------------------------------------------------------------------------------------------------------- bundles

SPEC: dict[str, Any] = {
    "family": "yolov5",
    "task": "detect",
    "class_names": ["bolt"],
    "input": {"name": "images", "height": 32, "width": 32},
    "outputs": [
        {"name": "o", "role": "anchor_map", "level": 0, "stride": 8, "shape": [1, 6, 4, 4], "activation": "linear"}
    ],
    "anchors": {"levels_px": [[[10.0, 12.0]]]},
    "model": {"file": "m.rknn", "target": "rk3588", "dtype": "int8"},
    "schema_version": 1,
}
RECORD: dict[str, Any] = {
    "rkdeploy_version": "0", "created": "", "head": [], "calibration": None, "agreement": None, "host": {},
    "seconds": {}, "warnings": [],
    "source": {"file": "m.pt", "sha256": "", "weights": None, "family": "yolov5", "generation": "", "parameters": None,
               "anchors_from": "", "anchors": {"levels_px": []}, "coco_anchors": False},
    "verification": {"images": 0, "image_names": [], "rows": 0, "fields": []},
    "toolkit": {"name": "", "version": "", "target": "", "dtype": "", "algorithm": None, "method": None,
                "optimization_level": 3, "disabled_rules": []},
}  # fmt: skip


def make_bundle(folder: Path, spec: dict[str, Any] | None = None, record: dict[str, Any] | None = None) -> Path:
    """A bundle whose network gives one anchor map of zeros; it runs, unless spec or record are changed."""
    bundle = folder / "bundle"
    bundle.mkdir()
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["o"], kernel_shape=[8, 8], strides=[8, 8]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 6, 4, 4])],
        [onnx.numpy_helper.from_array(np.zeros((6, 3, 8, 8), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (bundle / "m.rknn").write_bytes(b"RKNN")
    (bundle / "m-cut.onnx").write_bytes(model.SerializeToString())
    (bundle / "contract.json").write_text(json.dumps({**SPEC, **(spec or {})}))
    (bundle / "build.json").write_text(json.dumps({**RECORD, **(record or {})}))
    seal(bundle)
    return bundle


def seal(bundle: Path) -> None:
    files = sorted(p for p in bundle.iterdir() if p.is_file() and p.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def image(folder: Path) -> str:
    cv2.imwrite(str(folder / "image.png"), np.zeros((20, 30, 3), np.uint8))
    return "image.png"


def output(**changes: object) -> dict[str, Any]:
    return {"outputs": [{**SPEC["outputs"][0], **changes}]}


def given_input(**changes: object) -> dict[str, Any]:
    return {"input": {**SPEC["input"], **changes}}


CONTRACTS: dict[str, dict[str, Any]] = {
    "newer schema": {"schema_version": 99},
    "schema of text": {"schema_version": "\x1b[2J"},
    "no family": {"family": None},
    "unknown task": {"task": "mine bitcoin"},
    "no classes": {"class_names": []},
    "classes of another number": {"class_names": ["a", "b"]},
    "classes of numbers": {"class_names": [1]},
    "classes of half characters": {"class_names": ["\ud800"]},
    "no outputs": {"outputs": []},
    "no anchors": {"anchors": None},
    "anchors of no level": {"anchors": {"levels_px": []}},
    "levels of no anchor": {"anchors": {"levels_px": [[]]}},
    "anchors of another number": {"anchors": {"levels_px": [[[10, 12], [3, 4]]]}},
    "anchors of another level": {"anchors": {"levels_px": [[[10, 12]], [[3, 4]]]}},
    "anchors of zero": {"anchors": {"levels_px": [[[0, 0]]]}},
    "anchors below zero": {"anchors": {"levels_px": [[[-5, 3]]]}},
    "anchors without end": {"anchors": {"levels_px": [[[1e400, 3]]]}},
    "unknown role": output(role="backdoor"),
    "level that is missing": output(level=7),
    "level below zero": output(level=-1),
    "stride of zero": output(stride=0),
    "stride that does not fit": output(stride=16),
    "shape below zero": output(shape=[1, 6, -4, -4]),
    "shape of billions": output(shape=[1, 6, 10**9, 10**9]),
    "shape of three": output(shape=[1, 6, 4]),
    "name of another output": output(name="x"),
    "scale of zero": output(quantization={"dtype": "int8", "scale": 0.0, "zero_point": 0}),
    "unknown dtype": output(quantization={"dtype": "int3", "scale": 1.0, "zero_point": 0}),
    "height of zero": given_input(height=0),
    "height below zero": given_input(height=-32, width=-32),
    "height of billions": given_input(height=10**9, width=10**9),
    "name of another input": given_input(name="x"),
    "std of zero": given_input(std=[0, 0, 0]),
    "mean of text": given_input(mean="x"),
    "padding beyond a byte": given_input(pad_value=1000),
    "unknown color order": given_input(color="cmyk"),
    "model outside": {"model": {"file": "../../../etc/passwd.rknn", "target": "rk3588", "dtype": "int8"}},
    "model of a terminal's commands": {"model": {"file": "\x1b[2J.rknn", "target": "rk3588", "dtype": "int8"}},
    "model of another type": {"model": "m.rknn"},
    "target of a terminal's commands": {"model": {"file": "m.rknn", "target": "\x1b[2J", "dtype": "int8"}},
}


@pytest.mark.parametrize("spec", CONTRACTS.values(), ids=CONTRACTS.keys())
def test_contracts_that_cannot_be_are_refused(spec: dict[str, Any], tmp_path: Path) -> None:
    """A contract that contradicts itself, its model or its schema ends in one message, though its hashes hold."""
    make_bundle(tmp_path, spec)
    arguments = ["run", "bundle", image(tmp_path), "--save", "out", "-o", "out/x.jsonl"]
    assert_refused(run(arguments, tmp_path), tmp_path)


def change_model(bundle: Path) -> None:
    with (bundle / "m-cut.onnx").open("ab") as file:
        file.write(b"\0")


def rename_model(bundle: Path) -> None:
    (bundle / "m-cut.onnx").rename(bundle / "\x1b[2J.onnx")
    seal(bundle)


def list_file(line: str) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        with (bundle / "SHA256SUMS").open("a") as sums:
            sums.write(line + "\n")

    return change


def replace_by_pipe(name: str) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        (bundle / name).unlink()
        os.mkfifo(bundle / name)

    return change


def fill_with(name: str, data: bytes) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        (bundle / name).write_bytes(data)
        seal(bundle)

    return change


def huge_contract(bundle: Path) -> None:
    with (bundle / "contract.json").open("r+b") as file:
        file.truncate(20 << 30)


BUNDLES: dict[str, Callable[[Path], object]] = {
    "changed model": change_model,
    "missing model": rename_model,
    "missing file": lambda b: (b / "m-cut.onnx").unlink(),
    "no build.json": lambda b: (b / "build.json").unlink(),
    "no contract.json": lambda b: (b / "contract.json").unlink(),
    "no sums": lambda b: (b / "SHA256SUMS").unlink(),
    "empty sums": lambda b: (b / "SHA256SUMS").write_text(""),
    "sums of bytes": lambda b: (b / "SHA256SUMS").write_bytes(bytes(range(256))),
    "sums outside": list_file("0" * 64 + "  ../../../../etc/passwd"),
    "sums at an absolute path": list_file("0" * 64 + "  /etc/passwd"),
    "sums of a terminal's commands": list_file("0" * 64 + "  \x1b[2J"),
    "sums of a long name": list_file("0" * 64 + "  " + "a" * 100_000),
    "sums of a NUL": list_file("0" * 64 + "  a\0b"),
    "contract as a pipe": replace_by_pipe("contract.json"),
    "sums as a pipe": replace_by_pipe("SHA256SUMS"),
    "build.json as a pipe": replace_by_pipe("build.json"),
    "model as a pipe": replace_by_pipe("m-cut.onnx"),
    "contract of no JSON": fill_with("contract.json", b"{"),
    "contract of a list": fill_with("contract.json", b"[]"),
    "contract of bytes": fill_with("contract.json", bytes(range(256))),
    "contract nested without end": fill_with("contract.json", b"[" * 1_000_000),
    "contract of 20 GB": huge_contract,
    "model of text": fill_with("m-cut.onnx", b"not a model"),
    "model of a checkpoint": fill_with("m-cut.onnx", GOOD_PT.read_bytes()),
    "model with another output": fill_with("m-cut.onnx", GOOD_ONNX.read_bytes()),
}


@pytest.mark.parametrize("change", BUNDLES.values(), ids=BUNDLES.keys())
def test_broken_bundles_are_refused(change: Callable[[Path], object], tmp_path: Path) -> None:
    """A bundle that was changed, lies or lacks something ends in one message."""
    change(make_bundle(tmp_path))
    arguments = ["run", "bundle", image(tmp_path), "--save", "out"]
    assert_refused(run(arguments, tmp_path), tmp_path)


@pytest.mark.parametrize("file", ["../../../etc/passwd", "/etc/passwd", "..", "", "\x1b[2J.pt", "a\0b.pt"])
def test_a_bundle_cannot_point_outside(file: str, tmp_path: Path) -> None:
    """The model's name in an older bundle's build.json is a name, whatever path it pretends to be."""
    make_bundle(tmp_path, spec={"model": None}, record={"source": {**RECORD["source"], "file": file}})
    arguments = ["run", "bundle", image(tmp_path), "--save", "out"]
    assert_refused(run(arguments, tmp_path), tmp_path)


@pytest.mark.parametrize("record", [b'{"source": 5}', b"[]", b"{", b"\xff", b'{"schema_version": "\\u001b[2J"}'])
def test_records_are_refused_where_they_are_needed(record: bytes, tmp_path: Path) -> None:
    """A broken build.json ends in one message where an older bundle's model is named by it."""
    fill_with("build.json", record)(make_bundle(tmp_path, spec={"model": None}))
    assert_refused(run(["run", "bundle", image(tmp_path)], tmp_path), tmp_path)


def test_the_bundle_runs_unchanged(tmp_path: Path) -> None:
    """The unchanged bundle runs: the refusals above are caused by the tests' changes."""
    make_bundle(tmp_path)
    outcome = run(["run", "bundle", image(tmp_path)], tmp_path)
    assert outcome.code == 0, outcome.stderr


@pytest.mark.parametrize("name", ["\x1b[2J.png", "a\nerror: owned.png", "[bold red].png"])
def test_file_names_cannot_drive_the_terminal(name: str, tmp_path: Path) -> None:
    """A frame's file name is printed as text."""
    make_bundle(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / image(tmp_path)).read_bytes())
    outcome = run(["run", "bundle", name if name[0] != "[" else "."], tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert all(c.isprintable() or c == "\n" for c in outcome.stdout + outcome.stderr)
    assert not any(line.startswith("error:") for line in (outcome.stdout + outcome.stderr).splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--conf", "person=0.4"], ["--conf", "\x1b[2J=0.4"], ["--conf", "2"], ["--conf", "nan"], ["--conf", "x"],
        ["nowhere.jpg"], ["nowhere/*.jpg"], [""], ["a" * 100_000], ["broken.mp4"], ["empty.mp4"], ["broken.txt"],
        ["/dev/zero"], ["pipe"], ["0"], ["ftp://nowhere/"], ["folder"], ["\x1b[2J\nerror: owned"],
        ["--save", "image.png"], ["-o", "folder"], ["-o", "/proc/nowhere/x.jsonl"],
    ],
    ids=lambda a: ascii(" ".join(a))[1:40],
)  # fmt: skip
def test_run_refuses(arguments: list[str], tmp_path: Path) -> None:
    """Options and sources that name nothing usable end in one message."""
    make_bundle(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(range(256)) * 40)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "broken.txt").write_bytes(bytes(range(256)))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    defaults = ["run", "bundle", image(tmp_path)]
    assert_refused(run([*defaults, *arguments], tmp_path), tmp_path)


# ---------------------------------------------------------------------------------------------------- build options


@pytest.mark.parametrize(
    "arguments",
    [
        ["--toolkit-python", "/nonexistent"], ["--toolkit-python", "/etc/passwd"], ["--toolkit-python", "/"],
        ["--calib-count", "0"], ["--calib-count", "-5"], ["--proof-count", "0"], ["--min-agreement", "2"],
        ["--imgsz", "65"], ["--imgsz", "1"], ["--weights", str(GOOD_PT)],
        ["--out", "/proc/nowhere"], ["--out", "taken"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_build_refuses(arguments: list[str], tmp_path: Path) -> None:
    """Options that cannot be meant end in one message."""
    (tmp_path / "taken").write_text("a file")
    defaults = build_arguments(GOOD_PT, tmp_path, "--calib", str(SAMPLE))
    outcome = run([*defaults, *arguments], tmp_path)
    assert_refused(outcome, tmp_path)


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    """A folder at the bundle's place that is not a bundle stays unchanged."""
    mine = tmp_path / "out" / "v7_n-rk3588-int8" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    outcome = run(build_arguments(GOOD_PT, tmp_path), tmp_path)
    assert outcome.code == 1
    assert "will not be replaced" in outcome.stderr
    assert mine.read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--target", "rk9999"], ["--dtype", "int3"], ["--target", "\x1b[2J"], ["--target", "../../x"]],
    ids=lambda a: ascii(a[1])[1:-1],
)  # fmt: skip
def test_the_toolkit_refuses(arguments: list[str], tmp_path: Path) -> None:
    """A target or type that the installed toolkit does not know ends in one message."""
    build = ["build", str(GOOD_PT), "--calib", str(SAMPLE), "--imgsz", "64", "--calib-count", "2", "--proof-count", "2"]
    outcome = run([*build, "--out", "out", *arguments], tmp_path, limit_s=60)
    assert_refused(outcome, tmp_path, limit_s=60)
