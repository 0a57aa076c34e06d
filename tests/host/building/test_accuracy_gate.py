"""The accuracy gate: what passes, what is refused, and what it says then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.agreement import Agreement, OutputAgreement
from rkdeploy.datasets.calibration import find_calibration
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import CalibrationError, RkdeployError, VerificationError
from rkdeploy.host.building.accuracy_gate import (
    Side,
    gate_notes,
    measure,
    open_gate,
    require_accuracy,
    require_sound,
)
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.images.file import read_image
from tests.accuracy.tiny_model import SPEC, head_values, make_data

SAMPLE = Path(__file__).parents[3] / "calib_data"


def side(values: NDArray[np.float32], name: str) -> Side:
    """A network that answers the same to every image."""

    def infer(_image: NDArray[np.uint8]) -> Sequence[HeadTensor]:
        return [HeadTensor(values)]

    return Side(infer, name, "float" if name == "onnxruntime" else "int8", f"{name}, made up")


def moved() -> NDArray[np.float32]:
    """The box 2.4 pixels further right: an IoU of 0.74 with where it was."""
    values = head_values()
    values[0, 0, 1, 1] += 0.15
    return values


def report(tmp_path: Path, built: NDArray[np.float32]) -> AccuracyReport:
    data = open_gate(GateOptions(make_data(tmp_path / "set")), SPEC)
    return measure(data, SPEC, side(head_values(), "onnxruntime"), side(built, "simulator"), lambda _text: None)


def test_the_same_model_passes(tmp_path: Path) -> None:
    """Nothing is lost, so that even a drop of 0 is allowed."""
    found = report(tmp_path, head_values())
    assert found.evaluations[0].headlines() == found.evaluations[1].headlines()
    require_accuracy(found, 0.0, None, None)


def test_a_drop_by_hand(tmp_path: Path) -> None:
    """Boxes at an IoU of 0.74 are hits at five of ten overlaps: mAP50-95 halves, mAP50 stays."""
    found = report(tmp_path, moved())
    before, after = (e.objects[0] for e in found.evaluations)
    assert after.map50 == pytest.approx(before.map50)
    assert before.map50_95 is not None
    assert after.map50_95 == pytest.approx(before.map50_95 / 2)
    require_accuracy(found, 0.5, None, None)
    with pytest.raises(VerificationError) as caught:
        require_accuracy(found, 0.1, None, None)
    text = caught.value.message
    assert f"fell by {before.map50_95 / 2:.3f}" in text
    assert "--max-drop allows 0.1" in text
    assert "Lost most (boxes, mAP50-95): bolt" in text
    assert "simulator, made up" in text


def test_the_report_names_outputs_and_calibration(tmp_path: Path) -> None:
    """The output that is far from float with its saturation, and what is wrong with the calibration set."""
    outputs = (
        OutputAgreement("good", "anchor_map", 0.9999, 0.1, 0.01, 1.0, 0.9, 0.9),
        OutputAgreement("bad", "anchor_map", 0.61, 0.1, 0.45, 1.0, 0.9, 0.3),
    )
    agreement = Agreement("x", 1, "x", 0.25, outputs, 1, 1, 0, 0.85, 0.15, None, None)
    calibration = find_calibration(SAMPLE, Path.cwd(), 5, 0)
    with pytest.raises(VerificationError) as caught:
        require_accuracy(report(tmp_path, moved()), 0.1, agreement, calibration)
    text = caught.value.message
    assert 'Output "bad": cosine similarity to the float model 0.6100, 45.0 % of its values at an end' in text
    assert "highest score 0.300 where the float model reaches 0.900" in text
    assert '"good"' not in text
    assert "Calibration: 5 calibration images are few" in text


def test_what_is_worth_a_word(tmp_path: Path) -> None:
    """A float model that finds hardly anything, and images that were calibrated on too."""
    data = open_gate(GateOptions(make_data(tmp_path / "set")), SPEC)
    nothing = side(np.zeros((1, 7, 4, 4), np.float32), "onnxruntime")
    found = measure(data, SPEC, nothing, side(head_values(), "simulator"), lambda _text: None)
    calibration = find_calibration(tmp_path / "set/images", Path.cwd(), 3, 0)
    notes = gate_notes(found, data, calibration)
    assert any("3 of the 20 images that accuracy is measured on" in note for note in notes)
    assert any("The float model itself reaches mAP50-95 (boxes) 0.000" in note for note in notes)


def test_labels_of_another_model_are_refused(tmp_path: Path) -> None:
    """If the float model itself finds none of the labeled objects, equal figures on both sides prove nothing."""
    data = open_gate(GateOptions(make_data(tmp_path / "set")), SPEC)
    nothing = side(np.zeros((1, 7, 4, 4), np.float32), "onnxruntime")
    found = measure(data, SPEC, nothing, nothing, lambda _text: None)
    with pytest.raises(VerificationError, match=r"The float model itself reaches mAP50-95 \(boxes\) 0\.000 on"):
        require_accuracy(found, 1.0, None, None)


def test_an_unlabeled_set_cannot_be_judged(tmp_path: Path) -> None:
    """Without an object there is no figure, and so no pass."""
    found = report(tmp_path, head_values())
    empty = replace(found, evaluations=tuple(replace(e, objects=()) for e in found.evaluations))
    with pytest.raises(VerificationError, match="nothing is labeled"):
        require_accuracy(empty, 0.01, None, None)


@pytest.mark.parametrize("drop", [-0.1, 1.5, float("nan")])
def test_a_drop_that_means_nothing(drop: float) -> None:
    """Numbers outside of 0 to 1 are refused."""
    with pytest.raises(RkdeployError, match="--max-drop"):
        GateOptions(Path("x"), max_drop=drop)


def black_set(folder: Path) -> Path:
    folder.mkdir()
    for i in range(24):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((480, 640 + i, 3), np.uint8))  # not even the same file
    return folder


def repeated_set(folder: Path) -> Path:
    folder.mkdir()
    first = min((SAMPLE / "images/calib").iterdir())
    for i in range(24):
        (folder / f"{i}.jpg").write_bytes(first.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("make", "reason"), [(black_set, "24 of them black"), (repeated_set, "24 calibration files are the same picture")]
)
def test_damaged_calibration_sets(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    """All black, and one image repeated: refused with what is wrong.  The sample's own set is not."""
    with pytest.raises(CalibrationError, match=reason):
        require_sound(find_calibration(make(tmp_path / "set"), Path.cwd(), 40, 0))
    require_sound(find_calibration(SAMPLE, Path.cwd(), 20, 0))


@pytest.mark.slow
@pytest.mark.parametrize("make", [black_set, repeated_set])
def test_a_build_on_a_damaged_set_leaves_nothing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """The gate stops the build; there is no bundle, and no part of one."""
    gate = GateOptions(SAMPLE / "data.yaml")
    with pytest.raises(CalibrationError, match="damaged"):
        build(
            BuildOptions(SAMPLE / "best.pt", calib=make(tmp_path / "set"), out=tmp_path / "out", gate=gate),
            BuildEvents(),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_build_that_lost_accuracy_leaves_nothing(tmp_path: Path) -> None:
    """Calibrated on underexposed images, different and not flat: only the measured accuracy shows it."""
    (tmp_path / "dark").mkdir()
    for file in (SAMPLE / "images/calib").iterdir():
        cv2.imwrite(str(tmp_path / "dark" / f"{file.stem}.png"), read_image(file) // 5)
    require_sound(find_calibration(tmp_path / "dark", Path.cwd(), 20, 0))
    gate = GateOptions(SAMPLE / "data.yaml", limit=20)
    options = BuildOptions(
        SAMPLE / "best.pt",
        calib=tmp_path / "dark",
        out=tmp_path / "out",
        gate=gate,
        min_agreement=0.0,
        remedies=False,
        proof_images=2,
    )
    with pytest.raises(VerificationError, match=r"mAP50-95 \(boxes\) fell by") as caught:
        build(options, BuildEvents())
    assert "Lost most" in caught.value.message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_good_build_passes_and_records_it(tmp_path: Path) -> None:
    """The sample with its own calibration images stays within the default, and build.json has the figures."""
    gate = GateOptions(SAMPLE / "data.yaml", limit=30)
    options = BuildOptions(SAMPLE / "best.pt", calib=SAMPLE, out=tmp_path / "out", gate=gate, proof_images=2)
    bundle = build(options, BuildEvents())
    accuracy = bundle.record.accuracy
    assert accuracy is not None
    assert [e.computes for e in accuracy.evaluations] == ["float", "int8"]
    assert "simulator" in accuracy.evaluations[1].figures_from
    assert accuracy.evaluations[0].images == 30
