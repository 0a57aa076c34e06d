"""The sample's accuracy: float as upstream's validator measured it, INT8 in the simulator close to it.

Upstream (YOLOv5 v7.0, torch): `python val.py --weights best.pt --data data.yaml --imgsz 384` gives mAP50 0.994 and
mAP50-95 0.782 on the 100 validation images; bolt 0.687, nut 0.817, washer 0.844.  The pose model's trainer (ultralytics
8.4.190): `YOLO("best-pose.pt").val(data=..., imgsz=320)` gives boxes 0.995 and 0.891, keypoints 0.995 and 0.988; with
`rect=False`, which pads as we do, 0.995 and 0.894, 0.994 and 0.990.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.accuracy.evaluation import EvaluationOptions, evaluate
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle

SAMPLE = Path(__file__).parents[2] / "calib_data"

pytestmark = pytest.mark.slow


def measured(bundle: Bundle, labels: str | None) -> AccuracyReport:
    options = EvaluationOptions(SAMPLE / "data.yaml", labels=labels, backends=("onnxruntime", "simulator"))
    return evaluate(bundle, options, lambda _backend, _done, _total: None)


@pytest.fixture(scope="module")
def report(sample_bundle: Bundle) -> AccuracyReport:
    return measured(sample_bundle, None)


@pytest.fixture(scope="module")
def poses(sample_pose_bundle: Bundle) -> AccuracyReport:
    return measured(sample_pose_bundle, "labels_pose")


def test_float_is_upstreams(report: AccuracyReport) -> None:
    """mAP50 and mAP50-95 within 0.003, every class within 0.004."""
    found = report.evaluations[0].objects[0]
    assert found.map50 == pytest.approx(0.994, abs=0.003)
    assert found.map50_95 == pytest.approx(0.782, abs=0.003)
    assert [c.map50_95 for c in found.classes] == pytest.approx([0.687, 0.817, 0.844], abs=0.004)
    assert sum(c.truths for c in found.classes) == 874


def test_int8_is_close_to_float(report: AccuracyReport) -> None:
    """With the default settings INT8 loses less than 0.008 of mAP50-95, and nothing to speak of of mAP50."""
    reference, built = (e.objects[0] for e in report.evaluations)
    assert reference.map50_95 is not None
    assert built.map50_95 is not None
    assert reference.map50_95 - built.map50_95 < 0.008
    assert built.map50 == pytest.approx(reference.map50, abs=0.004)
    assert [e.computes for e in report.evaluations] == ["float", "int8"]


def test_float_poses_are_upstreams(poses: AccuracyReport) -> None:
    """Boxes and keypoints within 0.003 of the trainer's own validation (`rect=False`)."""
    boxes, keypoints = poses.evaluations[0].objects
    assert (boxes.kind, keypoints.kind) == ("boxes", "keypoints")
    assert [boxes.map50, boxes.map50_95] == pytest.approx([0.9948, 0.8940], abs=0.003)
    assert [keypoints.map50, keypoints.map50_95] == pytest.approx([0.9944, 0.9900], abs=0.003)


def test_int8_poses_are_close_to_float(poses: AccuracyReport) -> None:
    """With the default settings little of mAP50-95 is lost: boxes 0.008, 0.005, 0.004 with three calibration
    samples.
    """
    for reference, built in zip(*(e.objects for e in poses.evaluations), strict=True):
        assert reference.map50_95 is not None
        assert built.map50_95 is not None
        assert reference.map50_95 - built.map50_95 < 0.012
