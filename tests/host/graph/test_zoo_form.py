from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.form_cut import cut_in_form, form_program
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import network_of
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms import zoo
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data"
EXAMPLES: Mapping[str, tuple[str, list[str]]] = {
    "yolov5/v7_n.pt": ("yolov5", ["anchor_map"]),
    "yolov5/seg.pt": ("yolov5_seg", ["anchor_map", "anchor_coefficients"]),
    "yolov6/n_opt.pt": ("yolov6", ["ltrb_boxes", "scores", "score_sum"]),
    "yolov7/tiny_plain.pt": ("yolov7", ["anchor_map"]),
    "yolov9/gelan_t.pt": ("yolov8 or yolo11", ["dfl_boxes", "scores", "score_sum"]),
    "ultralytics/v11_seg.pt": ("yolov8_seg", ["dfl_boxes", "scores", "score_sum", "mask_coefficients"]),
    "ultralytics/old_8_0_200_pose.pt": ("yolov8_pose", ["joined"]),
    "ultralytics/v11_obb.pt": ("yolov8_obb", ["joined"]),
    "ultralytics/v10n.pt": ("yolov10", ["dfl_boxes", "scores", "score_sum"]),
    "cells/ppyoloe_model_zoo.onnx": ("ppyoloe", ["dfl_boxes", "scores", "score_sum"]),
    "yolox/nano.pth": ("yolox", ["joined"]),
}
"""The zoo's example that reads a file of each family, and the roles of a level's outputs."""
LAST = {
    "yolov5_seg": ("prototypes", 4),
    "yolov8_seg": ("prototypes", 4),
    "yolov8_pose": ("joined", 4),
    "yolov8_obb": ("angles", 3),
}
"""Role and number of axes of the output of the whole image."""


def network(name: str) -> Network:
    preset = InputChoice(preset="yolox") if name.startswith("yolox") else InputChoice()
    size = None if name.startswith(("ultralytics", "cells")) else (64, 96)  # not square: a swap would show
    return network_of(BuildOptions(DATA / name, input=preset, imgsz=size))


def in_zoo_form(found: Network) -> tuple[onnx.ModelProto, ModelSpec]:
    return cut_in_form(found, BuildOptions(found.file, form="zoo"))


def in_form(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, Session, ModelSpec]:
    """A network in the zoo's form; its few levels count as all of them."""
    found = network(name)
    strides = tuple(dict.fromkeys(tap.stride for tap in found.head.taps if not tap.name))
    monkeypatch.setattr(zoo, "STRIDES", strides)
    monkeypatch.setattr(zoo, "POSE_BINS", next((t.shape[1] for t in found.head.taps if t.role == "dfl_boxes"), 64))
    graph, spec = in_zoo_form(found)
    assert verify_contract(found, graph, spec, ()).rows >= 0
    return found, Session(graph), spec


@pytest.mark.parametrize("name", EXAMPLES)
def test_outputs_are_those_of_the_example_and_proven(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    example, roles = EXAMPLES[name]
    found, _, spec = in_form(name, monkeypatch)
    assert form_program(spec) == f"rknn_model_zoo, examples/{example}"
    levels = len({tap.stride for tap in found.head.taps if not tap.name})
    last = LAST.get(example)
    assert [o.role for o in spec.outputs] == roles * levels + ([last[0]] if last else [])
    assert last is None or len(spec.outputs[-1].shape) == last[1]
    assert spec.form == "zoo"


def test_values_that_the_demos_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    _, session, spec = in_form("yolov9/gelan_t.pt", monkeypatch)
    image = np.random.default_rng(0).random((1, 3, spec.input.height, spec.input.width), np.float32)
    outputs = session.run({spec.input.name: image})
    boxes, scores, total = (outputs[o.name] for o in spec.outputs[:3])
    assert boxes.shape[1] == 64
    assert scores.min() >= 0
    assert scores.max() <= 1
    np.testing.assert_allclose(total, np.minimum(scores.sum(axis=1, keepdims=True), 1), rtol=1e-5)


def test_yolox_has_box_objectness_and_classes_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    _, session, spec = in_form("yolox/nano.pth", monkeypatch)
    first = spec.outputs[0]
    assert [(part.role, len(part.channels), part.activation) for part in first.parts] == [
        ("center_boxes", 4, "linear"),
        ("objectness", 1, "sigmoid"),
        ("scores", 3, "sigmoid"),
    ]
    image = np.random.default_rng(0).random((1, 3, spec.input.height, spec.input.width), np.float32)
    values = session.run({spec.input.name: 255 * image})[first.name]
    assert values[:, 4:].min() >= 0
    assert values[:, 4:].max() <= 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ultralytics/v8_p6.pt", "levels at strides 8, 16, 32, 64"),
        ("yolov5/yolov3_tiny.pt", "levels at strides 16, 32"),
        ("ultralytics/v8_cls.pt", "reads a head of classify"),
        ("ultralytics/v26_seg.pt", "reads a head of ltrb_boxes, mask_coefficients, scores"),
        ("ultralytics/v11_obb.pt", "64 logits"),
    ],
)
def test_other_heads_are_refused_with_what_is_possible(name: str, text: str) -> None:
    with pytest.raises(GraphError, match=text) as caught:
        in_zoo_form(network(name))
    assert "YOLOv8 and 11 with seg, pose and obb" in caught.value.hint


def test_split_is_part_of_the_form() -> None:
    with pytest.raises(RkdeployError, match="--form zoo says which channels"):
        BuildOptions(Path("best.pt"), form="zoo", cut=CutOptions("boxes_scores"))
