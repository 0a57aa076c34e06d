"""The printed command: read by the command line again, it is the build that was meant."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rkdeploy.cli.main import app
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.command_line import build_command_line
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.quantization import QuantizationSettings
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.float16 import Float16Choice
from rkdeploy.option import declared_fields, written

MODEL = Path("my model.pt")
DEFAULT = BuildOptions(MODEL)
CASES = {
    "default": DEFAULT,
    "settings": QuantizationSettings(
        algorithm="mmse",
        method="layer",
        calib_count=40,
        seed=3,
        cut=CutOptions("boxes_scores", "scores"),
        float16=Float16Choice(worst=2),
    ).applied_to(DEFAULT),
    "auto": replace(DEFAULT, float16=Float16Choice(auto=True), cut=CutOptions("none", "none")),
    "layers": replace(DEFAULT, float16=Float16Choice(layers=("model.17-24", "head"))),
    "no float16": replace(DEFAULT, float16=Float16Choice()),
    "gate": replace(DEFAULT, gate=GateOptions(Path("data.yaml"))),
    "whole gate": replace(DEFAULT, gate=GateOptions(Path("d d.yaml"), "test", "labels_pose", 50, 0.02)),
    "square": replace(DEFAULT, imgsz=(320, 320), target="rk3576", dtype="w4a16"),
    "wide": replace(DEFAULT, imgsz=(384, 640), calib=Path("calib"), nms=True, stem="trained"),
    "files": replace(DEFAULT, weights=Path("w.pt"), cfg=Path("c.cfg"), nms=False, out=Path("elsewhere")),
    "input": replace(
        DEFAULT,
        input=InputChoice(Path("names.txt"), (1.5, 2.0, 3.25), (58.395, 57.12, 57.375), "bgr", "center_crop", 0.875),
    ),
    "numbers": replace(
        DEFAULT, optimization_level=1, min_agreement=0.5, proof_images=9, examples=0, toolkit_python=Path("/opt/python")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_understands_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options parsed by `rkdeploy build` from the arguments equal the options that the arguments were made from."""
    seen: list[BuildOptions] = []
    monkeypatch.delenv("RKDEPLOY_TOOLKIT_PYTHON", raising=False)
    monkeypatch.setattr("rkdeploy.cli.build.build_and_print", seen.append)
    words = shlex.split(build_command_line(CASES[name]))
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, done.output
    assert seen == [CASES[name]]


def test_only_what_is_no_default_is_written() -> None:
    """A default build has no option."""
    assert written(DEFAULT) == ["my model.pt"]
    assert build_command_line(DEFAULT) == "rkdeploy build 'my model.pt'"


def test_no_option_is_forgotten() -> None:
    """Every field of a build's options, and of those that it holds, is declared as an option."""
    for kind in (BuildOptions, GateOptions, InputChoice, CutOptions, Float16Choice):
        assert {one.name for one in declared_fields(kind)} == {one.name for one in fields(kind)}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (QuantizationSettings(), "default"),
        (
            QuantizationSettings(algorithm="mmse", method="layer", calib_count=40, seed=2),
            "mmse, method layer, 40 images, draw 2",
        ),
        (QuantizationSettings(cut=CutOptions("boxes_scores", "none")), "split boxes_scores, sigmoid none"),
        (QuantizationSettings(float16=Float16Choice(layers=("head",))), "float16 head"),
        (QuantizationSettings(float16=Float16Choice()), "float16 none"),
        (QuantizationSettings(float16=Float16Choice(auto=True)), "float16 auto"),
    ],
)
def test_settings_in_words(settings: QuantizationSettings, words: str) -> None:
    """Only what differs from the default is said."""
    assert settings.in_words() == words
