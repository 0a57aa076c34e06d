from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.record import FormRecord
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec, Quantization
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.form_cost import cost_text, refusal_hint, type_note
from rkdeploy.host.building.input_options import InputChoice
from tests.shared_bundles import SAMPLE

DATA = Path(__file__).parents[2] / "data"


class _Line(BuildEvents):
    """Keeps what is said of the form."""

    def __init__(self) -> None:
        self.cost = ""

    def form(self, form: FormRecord, cost: str) -> None:
        self.cost = cost


@pytest.mark.slow
def test_a_build_for_the_zoo_measures_our_own_form_beside_it(tmp_path: Path) -> None:
    line = _Line()
    options = BuildOptions(
        DATA / "yolox" / "nano.pth", input=InputChoice(preset="yolox"), imgsz=(64, 64), calib=SAMPLE, calib_count=2,
        proof_images=1, min_agreement=0.0, remedies=False, form="zoo", out=tmp_path,
    )  # fmt: skip
    bundle = build(options, line)
    assert bundle.folder.name == "nano-zoo-rk3588-int8"
    assert [(o.role, o.shape[1]) for o in bundle.spec.outputs] == [("joined", 8)] * 3
    assert bundle.spec.input.color == "rgb"  # it was trained with BGR, and the demo hands over RGB
    assert bundle.record.agreement is not None
    assert min(output.cosine for output in bundle.record.agreement.outputs) > 0.98
    form = bundle.record.form
    assert form is not None
    assert form.name == bundle.spec.form == "zoo"
    assert form.own is not None
    assert [o.role for o in form.own.outputs[:3]] == ["center_boxes", "scores", "objectness"]
    assert line.cost == cost_text(form, bundle.record.agreement)
    assert all(o.quantization is not None and o.quantization.dtype == "int8" for o in bundle.spec.outputs)


@pytest.mark.slow
def test_a_build_for_ultralytics_has_its_folder_and_a_float16_decode(tmp_path: Path) -> None:
    options = BuildOptions(
        DATA / "ultralytics" / "v8.pt", calib=SAMPLE, calib_count=2, proof_images=1, min_agreement=0.0,
        remedies=False,
        form="ultralytics", out=tmp_path,
    )  # fmt: skip
    bundle = build(options, BuildEvents())
    (output,) = bundle.spec.outputs
    assert output.quantization is None  # float16
    assert bundle.record.compiled is not None
    assert {layer.dtype for layer in bundle.record.compiled.layers if "form/" in layer.name} == {"FLOAT16"}
    assert sorted(file.name for file in (bundle.folder / "v8_rknn_model").iterdir()) == [
        "metadata.yaml",
        "v8-rk3588.rknn",
    ]
    assert "quantize: 8" in (bundle.folder / "v8_rknn_model" / "metadata.yaml").read_text()


def agreement(ap_of_class: float) -> Agreement:
    return Agreement(
        figures_from="simulator", images=24, source="images", confidence=0.25, outputs=(), float_detections=9,
        built_detections=9, matched=9, iou=0.85, score_difference=0.15, mean_iou=None, mean_score_difference=None,
        same_first_class=ap_of_class,
    )  # fmt: skip


def test_the_cost_is_both_figures() -> None:
    form = FormRecord("zoo", "rknn_model_zoo, examples/yolov8", agreement(0.95))
    text = cost_text(form, agreement(0.5))
    assert text == ("first class 0.500 in this form, 0.950 in our own, against the float model on the same images")
    assert cost_text(FormRecord("zoo", "rknn_model_zoo"), agreement(0.5)) == ""


def test_outputs_of_mixed_types_are_warned_of() -> None:
    integers = HeadOutput("a", "scores", 0, 8, (1, 2, 8, 8), quantization=Quantization("int8", 0.1, 0))
    spec = ModelSpec("yolov8", "detect", ("a", "b"), InputSpec("images", 64, 64), (integers,), form="zoo")
    mixed = (integers, replace(integers, quantization=None))
    assert type_note(spec) == ""
    assert "read all of them as int8" in type_note(replace(spec, outputs=mixed))
    assert type_note(replace(spec, outputs=mixed, keypoints=KeypointLayout(17, scored=True))) == ""
    assert type_note(replace(spec, outputs=mixed, form="frigate")) == ""


def test_a_refusal_names_our_own_form_and_float16() -> None:
    form = FormRecord("zoo", "rknn_model_zoo, examples/yolov8", agreement(0.95))
    assert refusal_hint(form, "int8") == (
        "Our own form of the same build has first class 0.950 (leave out --form zoo). "
        "Build this form with --dtype fp16. "
    )
    assert "fp16" not in refusal_hint(form, "fp16")
    assert refusal_hint(None, "int8") == ""
