"""Damage done on purpose is found and named: a convolution's channel, and calibration images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from rkdeploy.analysis.explain.explain import explain
from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.cli.main import app
from rkdeploy.contract.bundle import Bundle
from rkdeploy.datasets.calibration import CalibrationImage, find_calibration
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.toolkit.float16 import Float16Choice

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "calib_data"
CHANNEL = 3
DAMAGED = "model.6.cv1.conv"

pytestmark = pytest.mark.slow


def built(model: Path, folder: Path, calib: Path = SAMPLE, float16: Float16Choice | None = None) -> Bundle:
    options = BuildOptions(
        model=model,
        calib=calib,
        imgsz=(128, 128),
        proof_images=4,
        float16=float16 or Float16Choice(),
        min_agreement=0.0,
        remedies=False,
        out=folder,
    )
    return build(options, BuildEvents())


def lowest_cosine(bundle: Bundle) -> float:
    assert bundle.record.agreement is not None
    return min(output.cosine for output in bundle.record.agreement.outputs)


def explained(bundle: Bundle) -> Explanation:
    return explain(bundle, find_calibration(SAMPLE, ROOT, 1, 0).held_out(1).images, seconds=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return built(SAMPLE / "best.pt", tmp_path_factory.mktemp("whole"))


class RecordedCommand:
    """The explain command, which explains once and afterward gives what it found."""

    def __init__(self, bundle: Bundle) -> None:
        self._words = ["explain", str(bundle.folder), "--data", str(SAMPLE), "--count", "3"]
        self.found: list[Explanation] = []

    def run(self, *options: str) -> Result:
        """Run it with further options."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rkdeploy.analysis.explain.explain.explain", self._once)
            return CliRunner().invoke(app, [*self._words, *options])

    def _once(self, bundle: Bundle, images: Sequence[CalibrationImage], **options: Any) -> Explanation:
        if not self.found:
            self.found.append(explain(bundle, images, **options))
            assert len(images) == 3
        return self.found[0]


@pytest.fixture(scope="module")
def command(whole: Bundle) -> tuple[RecordedCommand, Result]:
    recorded = RecordedCommand(whole)
    return recorded, recorded.run()


def test_a_sound_model(command: tuple[RecordedCommand, Result]) -> None:
    """Nothing is blamed where nothing is wrong."""
    (found,) = command[0].found
    assert len(found.layers) > 100
    assert min(row.single_cosine for row in found.layers) > 0.98
    assert not [cause for cause in found.causes if cause.kind in {"calibration", "channel"}]
    assert found.figures_from.startswith("simulator (rknn-toolkit2")
    assert all(known.widest_image in found.images for known in found.ranges)
    # The toolkit's ranges are those of tensors that float has under the same names.
    assert len(found.ranges) > 100


def test_one_channel_scaled_by_64(whole: Bundle, tmp_path: Path) -> None:
    """A convolution of which one channel is 64 times too large is found, and what is proposed then helps."""
    model = onnx.load(whole.folder / "best.onnx")
    for constant in model.graph.initializer:
        if constant.name in {f"{DAMAGED}.weight", f"{DAMAGED}.bias"}:
            values = onnx.numpy_helper.to_array(constant).copy()
            values[CHANNEL] *= 64
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    damaged = tmp_path / "damaged.onnx"
    onnx.save(model, damaged)
    bundle = built(damaged, tmp_path / "int8")
    found = explained(bundle)
    assert found.causes[0].kind == "channel"
    assert found.causes[0].layer.startswith(DAMAGED)
    assert f"channel {CHANNEL} reaches" in found.causes[0].text
    assert "--float16-layers model.6)" in found.causes[0].try_this
    mended = built(damaged, tmp_path / "mended", float16=Float16Choice(("model.6",)))
    assert 1 - lowest_cosine(mended) < 0.8 * (1 - lowest_cosine(bundle))


def test_attribution(command: tuple[RecordedCommand, Result]) -> None:
    """Every quantized layer is ranked, the worst looked at closely, and the options of a build are emulated."""
    (found,) = command[0].found
    loss = found.attribution
    assert loss is not None
    assert not loss.reason
    assert len(loss.layers) == loss.all_layers > 60
    assert loss.layers[0].activations_gain is not None
    assert loss.agreement is not None
    # The layer that gains most comes first.
    assert loss.layers[0].gain == max(layer.gain for layer in loss.layers)
    options = {one.option.split(" ")[0]: one for one in loss.remedies}
    assert {"--float16-layers", "--bias-correction", "--algorithm"} <= options.keys()
    assert all(one.gain is not None and one.agreement is not None for one in loss.remedies)
    assert options["--bias-correction"].gain != 0


def black(folder: Path) -> Path:
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((96, 128, 3), np.uint8))
    return folder


def one_image(folder: Path) -> Path:
    for number in range(8):
        shutil.copy(SAMPLE / "images" / "val" / "val_0000.jpg", folder / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("damage", [black, one_image])
def test_damaged_calibration(damage: Callable[[Path], Path], tmp_path: Path) -> None:
    """Calibration on black images, or on one image over and over, is named as the first cause."""
    images = tmp_path / "images"
    images.mkdir()
    found = explained(built(SAMPLE / "best.pt", tmp_path, damage(images)))
    assert found.causes[0].kind == "calibration"
    assert "--calib" in found.causes[0].try_this


def test_command(command: tuple[RecordedCommand, Result]) -> None:
    """The command prints the worst layers, or everything as JSON; both of one explanation."""
    recorded, run = command
    assert run.exit_code == 0, run.output
    assert "layers that lose most" in run.output
    run = recorded.run("--json")
    document = json.loads(run.stdout)
    assert {"layers", "ranges", "causes", "schema_version"} <= document.keys()


def test_float_has_nothing_to_explain(whole: Bundle) -> None:
    """A float build is refused with what to do."""
    float_build = replace(whole, model=replace(whole.model, dtype="fp16"))
    with pytest.raises(RkdeployError, match="no quantization to explain"):
        explain(float_build, find_calibration(SAMPLE, ROOT, 1, 0).images)
