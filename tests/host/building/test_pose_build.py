"""The sample's pose model built with the real toolkit: what it finds on the 100 validation images, float and INT8."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.stream.detector import Detector
from rkdeploy.host.building.detection_matching import keypoint_shifts, match_detections
from rkdeploy.images.file import read_image

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "calib_data"
UPSTREAM = json.loads((ROOT / "tests" / "data" / "upstream_pose_detections.json").read_text())
THRESHOLDS = Thresholds(confidence=0.25, iou=0.45, max_det=300)
SCALE = 0.5  # input pixels per source pixel: 640x480 in 320x320

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detections(sample_pose_bundle: Bundle) -> Callable[[str], dict[str, Detections]]:
    """By image, what the bundle finds with the backend of this name; each backend runs once."""

    @functools.cache
    def found(backend: str) -> dict[str, Detections]:
        with open_runtime(backend, sample_pose_bundle) as runtime:
            detector = Detector(runtime, sample_pose_bundle.spec, THRESHOLDS)
            # The simulator takes long; `tests/accuracy/test_sample_accuracy.py` has its accuracy on all of them.
            names = sorted(UPSTREAM)[:: 2 if backend == "simulator" else 1]
            return {name: detector(read_image(SAMPLE / "images" / "val" / name)) for name in names}

    return found


def upstream(name: str) -> Detections:
    rows = np.array(UPSTREAM[name], np.float32).reshape(-1, 12)
    keypoints = rows[:, 6:].reshape(-1, 2, 3)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), keypoints=keypoints)


def test_onnxruntime_finds_what_ultralytics_finds(detections: Callable[[str], dict[str, Detections]]) -> None:
    """At least 99 % of the package's objects at IoU 0.98, their keypoints within 0.1 px of the source image."""
    matched, expected, found = 0, 0, 0
    worst = 0.0
    for name, ours in detections("onnxruntime").items():
        theirs = upstream(name)
        matches = match_detections(theirs, ours, 0.98, 1e-2)
        shifts, _ = keypoint_shifts(theirs, ours, matches.pairs)
        matched, expected, found = matched + len(matches.pairs), expected + len(theirs), found + len(ours)
        worst = max(worst, float(np.percentile(shifts, 99)) if shifts.size else 0.0)
    print(f"onnxruntime against ultralytics: {matched} of {expected} matched, {found} found, keypoints {worst:.3f} px")
    assert matched >= 0.99 * expected
    assert found <= 1.01 * expected
    assert worst < 0.1


def test_int8_keeps_the_keypoints(detections: Callable[[str], dict[str, Detections]]) -> None:
    """Poses of both models, every second image: median shift at most 1 px of the input, 95 % at OKS 0.9."""
    shifts, alike, matched, expected = [], [], 0, 0
    for name, built in detections("simulator").items():
        float_ = detections("onnxruntime")[name]
        matches = match_detections(float_, built, 0.5, 0.5)
        moved, likeness = keypoint_shifts(float_, built, matches.pairs)
        shifts.append(moved * SCALE)
        alike.append(likeness >= 0.9)
        matched, expected = matched + len(matches.pairs), expected + len(float_)
    median, share = float(np.median(np.concatenate(shifts))), float(np.concatenate(alike).sum()) / expected
    print(f"{matched} of {expected} matched; keypoints moved by {median:.2f} px; {100 * share:.1f} % at OKS 0.9")
    assert median <= 1.0
    assert share >= 0.95
