"""Forms with decoded rows: Ultralytics' and Frigate's, proven against the trained decode of tiny networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.spec import FormName, ModelSpec
from rkdeploy.errors import GraphError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.form_cut import cut_in_form, form_program
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import network_of
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.forms import frigate
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data"


def built(name: str, form: FormName, dtype: str = "int8") -> tuple[Network, onnx.ModelProto, ModelSpec]:
    preset = InputChoice(preset="yolox") if name.startswith("yolox") else InputChoice()
    size = None if name.startswith(("ultralytics", "cells")) else (64, 96)  # not square: a swap would show
    options = BuildOptions(DATA / name, input=preset, imgsz=size, form=form, dtype=dtype)
    found = network_of(options)
    return found, *cut_in_form(found, options)


@pytest.mark.parametrize(
    ("name", "roles", "channels"),
    [
        ("ultralytics/v8.pt", ["decoded_boxes", "scores"], 7),
        ("ultralytics/v26n.pt", ["decoded_boxes", "scores"], 7),
        ("ultralytics/v11_seg.pt", ["decoded_boxes", "scores", "mask_coefficients"], 15),
        ("ultralytics/v11_obb.pt", ["decoded_boxes", "scores", "angles"], 8),
        ("ultralytics/v26_obb.pt", ["decoded_boxes", "scores", "angles"], 8),
        ("ultralytics/v8_pose.pt", ["decoded_boxes", "scores", "keypoint_xy", "keypoint_scores"], 56),
        ("ultralytics/v11_pose_21x2.pt", ["decoded_boxes", "scores", "keypoint_xy"], 47),
        ("yolov5/v7_n.pt", ["decoded_boxes", "scores"], 8),
        ("yolov6/n_opt.pt", ["decoded_boxes", "scores"], 7),
        ("yolov7/tiny_plain.pt", ["decoded_boxes", "scores"], 8),
        ("yolox/nano.pth", ["decoded_boxes", "scores"], 7),
    ],
)
@pytest.mark.parametrize("dtype", ["int8", "fp16"])
def test_rows_of_ultralytics_are_the_trained_ones(name: str, roles: list[str], channels: int, dtype: str) -> None:
    found, graph, spec = built(name, "ultralytics", dtype)
    channels -= 8 - 4 - len(spec.class_names) if name.startswith(("yolov5", "yolov7")) else 0
    assert [part.role for part in spec.outputs[0].parts] == roles
    assert spec.outputs[0].shape[:2] == (1, channels)
    assert spec.points is not None
    assert spec.points.unit == ("fractions" if dtype == "int8" else "pixels")
    assert all(field.excess <= 1 for field in verify_contract(found, graph, spec, ()).fields)


def test_fractions_are_pixels_over_the_sides() -> None:
    _, in_pixels, spec = built("yolov7/tiny_plain.pt", "ultralytics", "fp16")
    _, in_fractions, _ = built("yolov7/tiny_plain.pt", "ultralytics", "int8")
    image = {spec.input.name: np.random.default_rng(0).random((1, 3, 64, 96), np.float32)}
    pixels, fractions = (Session(graph).run(image)["output0"] for graph in (in_pixels, in_fractions))
    sides = np.array([96, 64, 96, 64], np.float32)[None, :, None]
    np.testing.assert_allclose(fractions[:, :4] * sides, pixels[:, :4], rtol=1e-5)
    np.testing.assert_array_equal(fractions[:, 4:], pixels[:, 4:])


@pytest.mark.parametrize("name", ["ultralytics/v8.pt", "yolov7/tiny_plain.pt"])
def test_frigate_gets_one_tensor_of_rows(name: str) -> None:
    found, graph, spec = built(name, "frigate")
    assert form_program(spec) == "Frigate, model_type yolo-generic"
    assert [o.role for o in spec.outputs] == ["joined"]
    assert all(field.excess <= 1 for field in verify_contract(found, graph, spec, ()).fields)


def test_frigate_gets_maps_for_its_own_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    found = network_of(BuildOptions(DATA / "yolov7" / "tiny_plain.pt"))
    assert found.anchors is not None
    monkeypatch.setattr(frigate, "ANCHORS", found.anchors.levels_px)
    monkeypatch.setattr(frigate, "CLASSES", len(found.class_names))
    _, _, spec = built("yolov7/tiny_plain.pt", "frigate")
    assert [o.role for o in spec.outputs] == ["anchor_map"] * 3


def test_frigate_reads_yolox_by_its_own_type() -> None:
    _, _, spec = built("yolox/nano.pth", "frigate")
    assert form_program(spec) == "Frigate, model_type yolox"
    assert [o.role for o in spec.outputs] == ["joined"] * 3


@pytest.mark.parametrize(
    ("name", "form", "text"),
    [
        ("ultralytics/v11_seg.pt", "frigate", "Frigate does not read a segment model"),
        ("ultralytics/v8_cls.pt", "ultralytics", "Ultralytics does not read this classify model"),
        ("yolov5/seg.pt", "ultralytics", "Ultralytics does not read this segment model"),
    ],
)
def test_others_are_refused(name: str, form: FormName, text: str) -> None:
    with pytest.raises(GraphError, match=text) as caught:
        built(name, form)
    assert f"--form {form}" in caught.value.hint
