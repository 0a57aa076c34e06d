from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, OutputPart
from rkdeploy.host.building.form_files import frigate_configuration, ultralytics_metadata, write_form_files

ROWS = HeadOutput(
    "rows", "joined", 0, 8, (1, 6, 20), parts=(OutputPart("scores", (4, 5), "sigmoid"),), level_strides=(16, 32)
)
SPEC = ModelSpec(
    "yolov8", "detect", ('a "b"', "c\n:d"), InputSpec("images", 64, 96, "bgr"), (ROWS,), form="frigate",
    model=NpuModel("best-frigate.rknn", "rk3588", "int8"),
)  # fmt: skip


def test_the_configuration_of_frigate() -> None:
    read = yaml.safe_load(frigate_configuration(SPEC, "labels.txt"))
    assert read == {
        "detectors": {"rknn": {"type": "rknn", "num_cores": 0}},
        "model": {
            "path": "/config/model_cache/best-frigate.rknn",
            "labelmap_path": "/config/model_cache/labels.txt",
            "model_type": "yolo-generic",
            "width": 96,
            "height": 64,
            "input_tensor": "nhwc",
            "input_dtype": "int",
            "input_pixel_format": "bgr",
        },
    }


def test_the_files_for_frigate_are_in_the_bundle(tmp_path: Path) -> None:
    write_form_files(tmp_path, "best-frigate", SPEC)
    assert (tmp_path / "best-frigate-labelmap.txt").read_text() == '0  a "b"\n1  c :d\n'
    assert (tmp_path / "frigate.yml").read_text() == frigate_configuration(SPEC, "best-frigate-labelmap.txt")


def test_the_metadata_of_ultralytics() -> None:
    spec = replace(SPEC, task="pose", form="ultralytics", keypoints=KeypointLayout(4, scored=False))
    read = yaml.safe_load(ultralytics_metadata(spec))
    assert read["names"] == {0: 'a "b"', 1: "c\n:d"}
    assert (read["task"], read["imgsz"], read["stride"], read["kpt_shape"]) == ("pose", [64, 96], 32, [4, 2])
    assert read["args"]["quantize"] == 8
    float16 = replace(spec, model=NpuModel("best.rknn", "rk3588", "fp16"))
    assert yaml.safe_load(ultralytics_metadata(float16))["args"]["quantize"] == 16


def test_the_folder_of_ultralytics_has_the_model(tmp_path: Path) -> None:
    (tmp_path / "best-frigate.rknn").write_bytes(b"model")
    write_form_files(tmp_path, "best-ultralytics", replace(SPEC, form="ultralytics"))
    assert (tmp_path / "best_rknn_model" / "best-rk3588.rknn").read_bytes() == b"model"


def test_anchors_of_the_zoo_are_one_number_per_line(tmp_path: Path) -> None:
    anchors = Anchors((((10.0, 13.5), (16.0, 30.0)),))
    write_form_files(tmp_path, "best-zoo", replace(SPEC, form="zoo", anchors=anchors))
    assert (tmp_path / "best-zoo-anchors.txt").read_text() == "10\n13.5\n16\n30\n"
    assert (tmp_path / "best-zoo-labels.txt").read_text() == 'a "b"\nc :d\n'


def test_our_own_form_needs_no_files(tmp_path: Path) -> None:
    write_form_files(tmp_path, "best", replace(SPEC, form="rkdeploy"))
    assert not list(tmp_path.iterdir())
