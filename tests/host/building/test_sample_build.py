"""The sample checkpoint built with the real toolkit, and what its backends detect on the 100 validation images."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.stream.detector import Detector
from rkdeploy.host.building.detection_matching import Matches, match_detections
from rkdeploy.host.building.replaced_bundle import replaced_note
from rkdeploy.images.file import read_image

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "calib_data"
UPSTREAM = json.loads((ROOT / "tests" / "data" / "upstream_detections.json").read_text())
THRESHOLDS = Thresholds(confidence=0.25, iou=0.45, max_det=1000)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detections(sample_bundle: Bundle) -> Callable[[str], dict[str, Detections]]:
    """By image, what the bundle finds with the backend of this name; each backend runs once."""

    @functools.cache
    def found(backend: str) -> dict[str, Detections]:
        with open_runtime(backend, sample_bundle) as runtime:
            detector = Detector(runtime, sample_bundle.spec, THRESHOLDS)
            # The simulator takes long; `tests/accuracy/test_sample_accuracy.py` has its accuracy on all of them.
            names = sorted(UPSTREAM["images"])[:: 2 if backend == "simulator" else 1]
            return {name: detector(read_image(SAMPLE / "images" / "val" / name)) for name in names}

    return found


def upstream(name: str) -> Detections:
    rows = np.array(UPSTREAM["images"][name], np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def total(matches: list[Matches]) -> tuple[int, int, int]:
    return sum(len(m.ious) for m in matches), sum(m.reference for m in matches), sum(m.compared for m in matches)


def test_bundle_is_whole(sample_bundle: Bundle) -> None:
    """A build leaves a bundle whose hashes hold, with the sample's own anchors and the scales of an int8 model."""
    again = read_bundle(sample_bundle.folder)
    assert again.spec == sample_bundle.spec
    assert again.spec.anchors is not None
    assert np.abs(np.array(again.spec.anchors.levels_px) - np.array(UPSTREAM["anchors_px"])).max() < 1e-3
    assert all(o.quantization is not None and o.quantization.dtype == "int8" for o in again.spec.outputs)
    assert again.rknn.read_bytes()[:4] == b"RKNN"
    assert again.record.calibration is not None
    assert len(again.record.calibration.images) == 20


def test_another_models_bundle_is_not_replaced_unsaid(sample_bundle: Bundle, tmp_path: Path) -> None:
    """The same file at the same size replaces its own bundle; for another best.pt, or another size, there is a note."""
    bundle = sample_bundle
    sha256 = bundle.record.source.sha256
    hw = (bundle.spec.input.height, bundle.spec.input.width)
    assert replaced_note(bundle.folder, sha256, hw) == ""
    assert replaced_note(tmp_path / "free", sha256, hw) == ""
    assert "the bundle of another best.pt, built 20" in replaced_note(bundle.folder, "0" * 64, hw)
    assert f"which is for {hw[1]}x{hw[0]} (width x height)" in replaced_note(bundle.folder, sha256, (hw[0], 2 * hw[1]))


def test_onnxruntime_detects_what_upstream_detects(detections: Callable[[str], dict[str, Detections]]) -> None:
    """On the 100 images, at least 99.5 % of upstream's boxes at IoU 0.99 with scores closer than 1e-3."""
    matches = [match_detections(upstream(n), d, 0.99, 1e-3) for n, d in detections("onnxruntime").items()]
    matched, expected, found = total(matches)
    print(f"onnxruntime against upstream: {matched} of {expected} matched, {found} found")
    assert expected == 919
    assert matched >= 0.995 * expected
    assert found <= 1.005 * expected


def test_simulated_int8_detects_what_float_detects(detections: Callable[[str], dict[str, Detections]]) -> None:
    """On every second image, at least 97.5 % of the float model's boxes at IoU 0.85 with scores closer than 0.15."""
    matches = [
        match_detections(detections("onnxruntime")[name], built, 0.85, 0.15)
        for name, built in detections("simulator").items()
    ]
    assert len(matches) == 50
    matched, expected, found = total(matches)
    print(f"simulator against float: {matched} of {expected} matched ({100 * matched / expected:.2f} %), {found} found")
    assert matched >= 0.975 * expected


def test_opencv_equals_onnxruntime(detections: Callable[[str], dict[str, Detections]]) -> None:
    """The two float backends give the same detections."""
    for name, a in detections("onnxruntime").items():
        b = detections("opencv_dnn")[name]
        assert len(match_detections(a, b, 0.99, 1e-3).ious) == len(a) == len(b), name
