"""Differences between the validators of the families."""

from __future__ import annotations

from dataclasses import replace

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.validators import validator_of
from tests.accuracy.tiny_model import SPEC


def test_each_family_has_its_own() -> None:
    """YOLOv5's val.py for YOLOv5, ultralytics' validator for its package and for strangers."""
    assert validator_of(SPEC).tail == "sloped"
    assert validator_of(SPEC).clips_boxes
    other = validator_of(replace(SPEC, family="ultralytics"))
    assert (other.iou, other.tail, other.clips_boxes) == (0.7, "cut", False)


def test_thresholds() -> None:
    """Nearly everything counts; the overlap is the validator's unless another is asked for."""
    found = measuring_thresholds(SPEC)
    assert (found.confidence, found.iou, found.max_det) == (0.001, 0.6, 300)
    assert measuring_thresholds(SPEC, iou=0.45).iou == 0.45
