"""Anchors from the command line, for a graph that has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.given_anchors import anchors_of_levels, read_anchors
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.option import written
from tests.host.building.test_network import DATA, ONNX, RAW, checkpoint, decode

NUMBERS = (10.0, 13.0, 16.0, 30.0, 33.0, 23.0, 30.0, 61.0)
YAML = """# model
nc: 80
anchors:
  - [10,13, 16,30]  # P3/8
  - [33,23, 30,61]  # P4/16
backbone:
  - [-1, 1, Conv, [64, 6, 2, 2]]
"""


def flat(network: Network) -> tuple[float, ...]:
    assert network.anchors is not None
    return tuple(side for level in network.anchors.levels_px for pair in level for side in pair)


@pytest.mark.parametrize(
    "text",
    [
        "10,13,16,30,33,23,30,61",
        "10,13, 16,30; 33,23, 30,61",
        "[[10,13,16,30],[33,23,30,61]]",
        "10 13 16 30 | 33 23 3e1 61.0",
    ],
)
def test_list(text: str) -> None:
    """Numbers with any usual separators between them."""
    assert read_anchors(text) == NUMBERS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("anchors.txt", "\n".join(map(str, NUMBERS))),
        ("anchors_yolov5.txt", "﻿10.0,13.0\r\n16.0,30.0\r\n33.0,23.0\r\n30.0,61.0\r\n"),
        ("yolov5n.yaml", YAML),
        ("inline.yaml", "anchors: [[10,13, 16,30], [33,23, 30,61]]\nnc: 3\n"),
    ],
)
def test_file(name: str, content: str, tmp_path: Path) -> None:
    """The vendor's list of numbers, one on a line, and a yaml of YOLOv5's models."""
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    assert read_anchors(str(file)) == NUMBERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10,13,16", "has 3 numbers"),
        ("10,-13", "not a length in pixels"),
        ("10,1e999", "not a length in pixels"),
        ("absent.txt", "cannot be read"),
        (",", "has 0 numbers"),
    ],
)
def test_refused_list(text: str, message: str) -> None:
    """One message that shows the form."""
    with pytest.raises(RkdeployError, match=message) as caught:
        read_anchors(text)
    assert "finest level first" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("content", "message"), [("10,13 and more", "holds .andmore"), ("nc: 3\n", 'has no entry "anchors"')]
)
def test_refused_file(content: str, message: str, tmp_path: Path) -> None:
    """Words between the numbers, and a yaml without anchors (as of a data set)."""
    file = tmp_path / ("data.yaml" if content.startswith("nc") else "anchors.txt")
    file.write_text(content)
    with pytest.raises(RkdeployError, match=message):
        read_anchors(str(file))


def test_levels() -> None:
    """Pairs in the order given; a wrong count and a wrong order are refused."""
    assert anchors_of_levels(NUMBERS, 2, 2).levels_px == (((10.0, 13.0), (16.0, 30.0)), ((33.0, 23.0), (30.0, 61.0)))
    with pytest.raises(RkdeployError, match="4 anchors, expected 9: 3 on each of the head's 3 levels"):
        anchors_of_levels(NUMBERS, 3, 3)
    with pytest.raises(RkdeployError, match="larger anchors on a finer level"):
        anchors_of_levels((*NUMBERS[4:], *NUMBERS[:4]), 2, 2)


@pytest.mark.parametrize("case", ["fork_sigmoid", "v4_raw", "v6_train"])
def test_raw_graph(case: str) -> None:
    """A raw graph with its anchors decodes as with its checkpoint, and is called unproven."""
    proven = open_network(ONNX / f"{case}.onnx", checkpoint(RAW[case]))
    network = open_network(ONNX / f"{case}.onnx", anchors=flat(proven))
    assert network.anchors == proven.anchors
    assert (network.anchors_from, network.proves_decode) == ("command line", False)
    assert any("nothing proves that they are decoded correctly. With --anchors" in note for note in network.notes)
    pixels = np.random.default_rng(2).integers(0, 256, (1, 3, *network.input_hw), np.uint8)
    rows = []
    for opened in (proven, network):
        graph, outputs = cut(opened.simplified, opened.head, CutOptions())
        spec = opened.contract(outputs)
        assert verify_contract(opened, graph, spec, ()).decode_proven is (opened is proven)
        rows.append(decode(graph, spec, pixels))
    assert rows[1].shape == rows[0].shape
    assert np.abs(rows[1] - rows[0]).max() < 1e-3


def test_numbers_that_may_be_landmarks(tmp_path: Path) -> None:
    """Raw maps of a YOLOv5-face look like more classes: without a sigmoid, names have to say that they are classes."""
    proven = open_network(ONNX / "v4_raw.onnx", checkpoint(RAW["v4_raw"]))
    network = open_network(ONNX / "v4_raw.onnx", anchors=flat(proven))
    with pytest.raises(RkdeployError, match="classes, or landmarks and classes"):
        with_choice(network, InputChoice())
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"name {i}" for i in range(len(network.class_names))))
    assert with_choice(network, InputChoice(names=names)).class_names[0] == "name 0"
    bounded = open_network(without_names(tmp_path), anchors=flat(open_network(checkpoint("v7_autoanchor"))))
    assert with_choice(bounded, InputChoice()).class_names[0] == "class_0"


def test_not_where_anchors_are() -> None:
    """A checkpoint, a graph with its decode and an anchor-free head take no anchors; nor do they go with --weights."""
    with pytest.raises(RkdeployError, match="has its own anchors"):
        open_network(checkpoint("v7_n"), anchors=NUMBERS)
    with pytest.raises(GraphError, match="has a decode, with its own anchors"):
        open_network(ONNX / "v6.onnx", anchors=NUMBERS)
    with pytest.raises(RkdeployError, match="--weights has the anchors already"):
        open_network(ONNX / "v4_raw.onnx", checkpoint(RAW["v4_raw"]), anchors=NUMBERS)


def without_names(tmp_path: Path) -> Path:
    """A graph that ends in the sigmoid of its maps and has no class names."""
    model = onnx.load(ONNX / "fork_sigmoid.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "best.onnx")
    return tmp_path / "best.onnx"


def test_wrong_count(tmp_path: Path) -> None:
    """Anchors of another model are refused by their number."""
    with pytest.raises(RkdeployError, match="4 anchors"):
        open_network(ONNX / "v4_raw.onnx", anchors=NUMBERS)
    with pytest.raises(GraphError, match="which 5 anchors do not divide"):
        open_network(without_names(tmp_path), anchors=(*NUMBERS, 90.0, 90.0))


def test_command() -> None:
    """A build's command line has them."""
    arguments = written(BuildOptions(DATA / "x.onnx", anchors=NUMBERS))
    assert arguments[arguments.index("--anchors") + 1] == "10,13,16,30,33,23,30,61"


def test_fewer_names_leave_landmarks(tmp_path: Path) -> None:
    """Names say how many of the numbers behind objectness are classes: those before are x and y, as YOLOv5-face has."""
    proven = open_network(ONNX / "v4_raw.onnx", checkpoint(RAW["v4_raw"]))
    network = open_network(ONNX / "v4_raw.onnx", anchors=flat(proven))
    numbers = len(network.class_names)
    names = tmp_path / "names.txt"
    names.write_text("plate\n" if numbers % 2 else "plate\nother\n")
    chosen = with_choice(network, InputChoice(names=names))
    classes = len(chosen.class_names)
    assert (chosen.task, chosen.family, chosen.head.classes) == ("pose", "yolov5-face", classes)
    assert chosen.head.keypoints is not None
    assert (chosen.head.keypoints.count, chosen.head.keypoints.by_anchor) == ((numbers - classes) // 2, True)
    assert any("are read as x and y of" in note for note in chosen.notes)
    _, outputs = cut(chosen.simplified, chosen.head, CutOptions())
    widths = {output.role: output.shape[1] // 3 for output in outputs}
    assert widths == {"anchor_map": 5 + classes, "anchor_keypoint_xy": numbers - classes}


def test_all_that_is_missing_is_named_at_once() -> None:
    """Anchors and names."""
    with pytest.raises(RkdeployError) as caught:
        open_network(ONNX / "v4_raw.onnx")
    assert all(option in caught.value.hint for option in ("--weights", "--anchors", "--names"))
