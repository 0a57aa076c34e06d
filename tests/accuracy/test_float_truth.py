"""Average precision with another model's detections as the truth: by hand, and against COCO's own accumulation."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.accuracy.curves import coco_average_precision
from rkdeploy.accuracy.float_truth import FloatTruthMeter
from rkdeploy.accuracy.predictions import prediction_of
from rkdeploy.accuracy.truth_matching import match_all
from rkdeploy.datasets.truth import Truth
from rkdeploy.device.postprocess.detections import Detections, InstanceMask

HW = (100, 200)


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


def test_by_hand() -> None:
    """Two objects; the best guess is wrong, the second right, one object missed: precision 1/2 up to recall 1/2."""
    meter = FloatTruthMeter("boxes", 2)
    truth = found((0, 0, 10, 10, 0.9, 1), (50, 50, 60, 60, 0.8, 1))
    meter.add(truth, found((100, 0, 110, 10, 0.9, 1), (0, 0, 10, 10, 0.5, 1)), HW)
    result = meter.result()
    assert result is not None
    assert (result.objects, result.images) == (2, 1)
    assert result.ap50 == pytest.approx(0.5 * 51 / 101)  # 51 of the 101 recalls are reached
    assert result.ap == pytest.approx(result.ap50)
    assert result.ap50_interval == (result.ap50, result.ap50)  # a single image has a single resample


def test_nothing_found_by_float() -> None:
    """Without a truth there is no figure, whatever the other model finds."""
    meter = FloatTruthMeter("boxes", 1)
    meter.add(Detections.empty(), found((0, 0, 9, 9, 0.9, 0)), HW)
    assert meter.result() is None
    assert FloatTruthMeter("boxes", 1).result() is None


def test_equals_cocos_accumulation() -> None:
    """On drawn boxes of three classes AP, AP50 and AP75 are those of the tool's own accumulation over all images."""
    rng = np.random.default_rng(3)
    meter = FloatTruthMeter("boxes", 3)
    pairs = []
    for _ in range(15):
        corners = rng.uniform(0, 80, (6, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 20, (6, 2))], axis=1)
        scores = np.sort(rng.uniform(0.3, 1, 6))[::-1]
        classes = rng.integers(0, 3, 6)
        truth = Detections(boxes.astype(np.float32), scores.astype(np.float32), classes.astype(np.int32))
        moved = (boxes + rng.normal(0, 1.5, boxes.shape)).astype(np.float32)
        order = np.argsort(-(again := rng.uniform(0.05, 1, 6)))
        other = Detections(moved[order], again[order].astype(np.float32), truth.class_ids[order])
        meter.add(truth, other, HW)
        labels = Truth(truth.xyxy.astype(np.float64), classes.astype(np.int64), np.ones(6), np.zeros(6, np.bool_))
        pairs.append((labels, prediction_of("", other, HW, (), ())))
    curves = [coco_average_precision(m) for m in match_all("boxes", pairs, 3)]
    expected = np.mean([c for c in curves if c is not None], axis=0)
    result = meter.result()
    assert result is not None
    assert (result.ap, result.ap50, result.ap75) == pytest.approx((expected.mean(), expected[0], expected[5]))
    assert result.ap_interval[0] < result.ap < result.ap_interval[1]


def test_masks_and_keypoints() -> None:
    """A mask moved by half its width overlaps by 1/3; a keypoint that float does not see does not count."""
    pixels = np.ones((10, 10), np.bool_)
    box = found((0, 0, 10, 10, 0.9, 0))
    truth = Detections(box.xyxy, box.scores, box.class_ids, masks=(InstanceMask(0, 0, pixels),))
    moved = Detections(box.xyxy, box.scores, box.class_ids, masks=(InstanceMask(5, 0, pixels),))
    masks = FloatTruthMeter("masks", 1)
    masks.add(truth, truth, HW)
    masks.add(truth, moved, HW)
    result = masks.result()
    assert result is not None
    assert result.ap50 == pytest.approx(51 / 101)
    points = np.array([[[1, 1, 0.9], [9, 9, 0.1]]], np.float32)
    posed = Detections(box.xyxy, box.scores, box.class_ids, keypoints=points)
    elsewhere = Detections(
        box.xyxy, box.scores, box.class_ids, keypoints=points + np.array([[0, 0, 0], [90, 0, 0]], np.float32)
    )
    keypoints = FloatTruthMeter("keypoints", 1, 2)
    keypoints.add(posed, elsewhere, HW)
    result = keypoints.result()
    assert result is not None
    assert (result.objects, result.ap) == (1, 1.0)
