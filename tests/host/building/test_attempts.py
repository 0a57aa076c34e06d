"""Remedies of a build whose INT8 agrees too little, with scripted agreements in place of the toolkit's models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from rkdeploy.contract.accuracy import FloatTruthAp
from rkdeploy.contract.agreement import Agreement, Measure
from rkdeploy.contract.bundle import QUANTIZATION
from rkdeploy.contract.record import BiasCorrection
from rkdeploy.contract.spec import InputSpec, ModelSpec
from rkdeploy.datasets.calibration import CalibrationSet
from rkdeploy.errors import ToolkitError
from rkdeploy.host.building import attempts as attempts_module
from rkdeploy.host.building.attempts import Attempts, tried_text
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_values import BuildData, BuiltNetwork, CutNetwork
from rkdeploy.host.building.chosen_images import BuildImages
from rkdeploy.host.building.journal import Journal
from rkdeploy.host.toolkit.built_model import BuiltModel, KeptFiles, ModelTensor
from rkdeploy.host.toolkit.float16 import Float16Choice
from tests.host.graph.test_depthwise_parts import UNEVEN, graph

SPEC = ModelSpec("yolov5", "detect", ("bolt",), InputSpec("images", 8, 8), ())
NARROW = 0.02
"""Half of the width of the intervals."""


def settings_of(options: BuildOptions) -> str:
    """The settings of one quantization in words."""
    return options.in_words()


def agreement(ap50: float) -> Agreement:
    interval = (max(0.0, ap50 - NARROW), min(1.0, ap50 + NARROW))
    found = FloatTruthAp("boxes", 40, 8, ap50, ap50, ap50, interval, interval)
    return Agreement(
        figures_from="simulator", images=8, source="photos", confidence=0.25, outputs=(), float_detections=40,
        built_detections=40, matched=40, iou=0.85, score_difference=0.15, mean_iou=None, mean_score_difference=None,
        average_precisions=(found,),
    )  # fmt: skip


def calibration_with(faults: tuple[str, ...]) -> CalibrationSet:
    return CalibrationSet("photos", 0, (), (), (), None, frozenset(), faults)  # type: ignore[arg-type]  # none left


class Bench:
    """A toolkit and builds that reach a given AP50 for each of their settings."""

    def __init__(self, reached: dict[str, float | ToolkitError], correction: BiasCorrection | None = None) -> None:
        self.reached = reached
        self.correction = correction
        self.built: list[str] = []
        self.opened: list[Path] = []
        self.warnings: list[str] = []
        self.remedies: list[str] = []

    def open_kept(self, kept: KeptFiles, _: object) -> None:
        self.opened.append(kept.model)

    def quantize(
        self, _: object, options: BuildOptions, part: CutNetwork, __: object, folder: Path, ___: object
    ) -> BuiltNetwork:
        name = settings_of(options)
        self.built.append(name)
        reached = self.reached[name]
        if isinstance(reached, ToolkitError):
            raise reached
        rknn = folder / f"{options.title}.rknn"
        assert not rknn.exists()
        rknn.write_text(name)
        (folder / QUANTIZATION).mkdir()
        kept = folder / QUANTIZATION / "model"
        kept.write_text(name)
        correction = self.correction if options.bias_correction else None
        tensor = ModelTensor("images", (1, 3, 8, 8))
        model = BuiltModel(
            rknn, KeptFiles(kept), tensor, (), "2.5.0", (), (), 0.0, folder / "log", bias_correction=correction
        )
        return BuiltNetwork(options, part, model, SPEC, agreement(reached), None)

    def best(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, faults: tuple[str, ...] = (), **options: Any
    ) -> BuiltNetwork:
        """Run a build; checks that the folder has the files of the one that was kept, and nothing else."""
        bench = self

        class Events(BuildEvents):
            def warning(self, text: str) -> None:
                bench.warnings.append(text)

            def remedy(self, name: str, measure: Measure | None) -> None:
                assert measure is not None
                bench.remedies.append(name)

        monkeypatch.setattr(attempts_module, "quantize_network", self.quantize)
        monkeypatch.setattr(attempts_module, "verify_rewritten", lambda *_: None)
        model = graph(UNEVEN)
        file = folder / "m-cut.onnx"
        onnx.save(model, str(file))
        built = Attempts(
            self,  # type: ignore[arg-type]  # stands in for the toolkit
            BuildOptions(Path("m.pt"), **options),
            CutNetwork(model, model, file, SPEC),
            BuildData(BuildImages(calibration_with(faults)), None, ""),
            folder,
            Journal(Events()),
        ).best()
        assert {entry.name for entry in folder.iterdir()} == {"m.rknn", QUANTIZATION, "m-cut.onnx"}
        kept = settings_of(built.options)
        assert (folder / "m.rknn").read_text() == kept
        assert (folder / QUANTIZATION / "model").read_text() == kept
        assert onnx.load(str(file)) == built.part.graph
        assert not self.opened or self.opened == [folder / QUANTIZATION / "model"]
        if built.attempts:
            assert [one.kept for one in built.attempts].count(True) == 1
        return built


CORRECTED = "biases corrected"
SEARCHED = "sensitivity, biases corrected"
PARTS = "sensitivity, depthwise in 3, biases corrected"
FLOAT16 = "float16 auto"


@pytest.mark.parametrize("ap50", [0.96, 0.94])
def test_a_good_one_and_one_that_may_be_good_are_left_alone(
    ap50: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = Bench({"default": ap50})
    built = bench.best(monkeypatch, tmp_path)
    assert (bench.built, built.attempts, bench.opened) == (["default"], (), [])


def test_the_first_remedy_that_helps_enough_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"default": 0.7, CORRECTED: 0.97})
    built = bench.best(monkeypatch, tmp_path)
    assert [one.remedy for one in built.attempts] == ["as_given", "biases"]
    assert [(one.refused, one.kept) for one in built.attempts] == [(True, False), (False, True)]
    assert bench.remedies == ["corrected biases"]
    assert tried_text(built.attempts) == "Tried: as given ap50 0.700; corrected biases ap50 0.970."


def test_one_without_a_gain_is_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weak, and not refused: what costs the NPU time is not tried, and the model is open again for what follows."""
    bench = Bench({"default": 0.88, CORRECTED: 0.884, SEARCHED: 0.7})
    built = bench.best(monkeypatch, tmp_path)
    assert bench.built == ["default", CORRECTED, SEARCHED]
    assert settings_of(built.options) == "default"
    assert bench.opened


def test_a_model_that_would_be_refused_may_take_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Float16 comes after what computes in INT8, and parts after float16, which are the slowest."""
    monkeypatch.setattr("rkdeploy.host.building.remedies.FEWEST_NAMED", 1)
    bench = Bench({"default": 0.1, CORRECTED: 0.2, SEARCHED: 0.15, FLOAT16: 0.9})
    (tmp_path / "a").mkdir()
    built = bench.best(monkeypatch, tmp_path / "a")
    assert bench.built == ["default", CORRECTED, SEARCHED, FLOAT16]
    assert built.options.float16 == Float16Choice(auto=True)
    bench = Bench({"default": 0.1, CORRECTED: 0.2, SEARCHED: 0.15, FLOAT16: 0.3, PARTS: 0.9})
    (tmp_path / "b").mkdir()
    built = bench.best(monkeypatch, tmp_path / "b")
    assert settings_of(built.options) == PARTS
    assert len(built.part.graph.graph.node) > len(built.part.whole.graph.node)
    bench = Bench({"default": 0.1, CORRECTED: 0.2, SEARCHED: 0.15, FLOAT16: 0.3, PARTS: 0.2})
    (tmp_path / "c").mkdir()
    built = bench.best(monkeypatch, tmp_path / "c")
    assert settings_of(built.options) == FLOAT16
    assert built.part.graph is built.part.whole


def test_a_figure_below_the_lowest_may_take_longer_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not refused, since its interval reaches what is accepted, but 0.83 itself does not."""
    bench = Bench({"default": 0.7, CORRECTED: 0.83, SEARCHED: 0.836, FLOAT16: 0.99})
    built = bench.best(monkeypatch, tmp_path)
    assert [(one.refused, one.kept) for one in built.attempts][1:] == [(False, False), (False, False), (False, True)]


def test_what_the_user_decided_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"kl_divergence, float16 none": 0.1, "kl_divergence, biases corrected, float16 none": 0.05})
    bench.best(monkeypatch, tmp_path, algorithm="kl_divergence", float16=Float16Choice())
    assert bench.remedies == ["corrected biases"]


@pytest.mark.parametrize("options", [{"remedies": False}, {"dtype": "fp16"}, {"target": "rv1106", "remedies": False}])
def test_none_is_tried(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"default": 0.1})
    assert bench.best(monkeypatch, tmp_path, **options).attempts == ()


def test_damaged_calibration_images_are_the_thing_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"default": 0.1})
    assert bench.best(monkeypatch, tmp_path, faults=("All images are black.",)).attempts == ()


def test_a_chip_without_float16_gets_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"default": 0.1, CORRECTED: 0.2, SEARCHED: 0.2})
    built = bench.best(monkeypatch, tmp_path, target="rv1106")
    assert settings_of(built.options) == CORRECTED


def test_a_remedy_that_fails_costs_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = Bench({"default": 0.8, CORRECTED: ToolkitError("It broke."), SEARCHED: 0.9})
    built = bench.best(monkeypatch, tmp_path)
    assert bench.warnings == ["This was tried and failed: corrected biases. It broke."]
    assert settings_of(built.options) == SEARCHED


def test_no_remedy_begins_late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(attempts_module, "_LIMIT_S", -1.0)
    bench = Bench({"default": 0.1})
    bench.best(monkeypatch, tmp_path)
    assert len(bench.warnings) == 1
    assert "not tried anymore: corrected biases" in bench.warnings[0]


@pytest.mark.parametrize(("corrected", "kept"), [(0.97, CORRECTED), (0.955, "default")])
def test_corrected_biases_that_were_asked_for_stay_if_they_are_no_loss(
    corrected: float, kept: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = Bench({"default": 0.96, CORRECTED: corrected}, BiasCorrection(accepted=True, layers=3))
    built = bench.best(monkeypatch, tmp_path, bias_correction=True)
    assert settings_of(built.options) == kept
    assert built.model.bias_correction is not None
    assert built.model.bias_correction.accepted is (kept == CORRECTED)
    assert bool(bench.warnings) is (kept == "default")
    assert replace(built, attempts=()) == built
