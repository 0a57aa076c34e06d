"""Predictions and labeled objects, matched as COCO's tool does."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.accuracy import truth_matching
from rkdeploy.accuracy.truth_matching import IOU_THRESHOLDS, keypoint_sigmas, match_all
from rkdeploy.images.coco_rle import rle_counts
from tests.accuracy.made import HW, prediction, truth

BOX = (10.0, 10.0, 20.0, 20.0)


def test_boxes_by_hand() -> None:
    """The best score takes the object, up to the overlap it has; the second finds nothing left."""
    wide = (10.0, 10.0, 20.0, 18.0)  # IoU 0.8 with BOX
    found = match_all("boxes", [(truth([BOX]), prediction([BOX, wide, (50, 50, 60, 60)], [0.5, 0.9, 0.7]))], 2)
    assert found[0].truths == 1
    assert found[0].scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found[0].hits[0].tolist() == [True, False, False]
    taken = IOU_THRESHOLDS <= 0.8 + 1e-9
    assert found[0].hits[:, 0].tolist() == taken.tolist()
    assert found[0].hits[:, 2].tolist() == (~taken).tolist()  # above 0.8 the exact box is the first that fits
    assert found[1].truths == 0
    assert found[1].hits.shape == (10, 0)


def test_classes_do_not_mix() -> None:
    """A box of another class finds nothing."""
    found = match_all("boxes", [(truth([BOX], [1]), prediction([BOX], [0.9], [0]))], 2)
    assert not found[0].hits.any()
    assert found[0].hits.shape == (10, 1)
    assert found[1].truths == 1


def test_nothing_at_all() -> None:
    """Images without objects and predictions, and no images."""
    for images in ([], [(truth([]), prediction([], []))]):
        found = match_all("boxes", images, 1)
        assert found[0].truths == 0
        assert found[0].scores.shape == (0,)


def test_crowds_count_neither_way() -> None:
    """Two boxes inside a crowd region do not count, a box outside does, and the crowd is not an object to find."""
    crowd = truth([(0, 0, 50, 50), BOX], crowd=[True, False])
    found = match_all("boxes", [(crowd, prediction([BOX, (0, 0, 9, 9), (60, 60, 70, 70)], [0.9, 0.8, 0.7]))], 1)[0]
    assert found.truths == 1
    scores, hits = found.at(0)
    assert scores.tolist() == pytest.approx([0.9, 0.7])
    assert hits.tolist() == [True, False]


def test_images_are_taken_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images go to the tool at once, the matches are the same."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(7):
        boxes = rng.uniform(0, 50, (5, 2))
        boxes = np.concatenate((boxes, boxes + rng.uniform(10, 40, (5, 2))), axis=1)
        moved = boxes + rng.normal(0, 2, boxes.shape)
        images.append((truth(boxes.tolist(), [0, 1, 0, 1, 0]), prediction(moved.tolist(), rng.random(5).tolist())))
    whole = match_all("boxes", images, 2)
    monkeypatch.setattr(truth_matching, "_IMAGES_AT_ONCE", 2)
    portions = match_all("boxes", images, 2)
    for a, b in zip(whole, portions, strict=True):
        assert a.truths == b.truths
        assert np.array_equal(a.scores, b.scores)
        assert np.array_equal(a.hits, b.hits)


def test_keypoints_by_hand() -> None:
    """OKS of one point at distance d: exp(-d^2 / (2 area (2 sigma)^2)), with sigma = 1 / points."""
    area = 100.0
    distance = (2 * area * (2 * 0.5) ** 2 * -np.log(0.72)) ** 0.5  # one of two points off, the other not labeled
    labeled = truth([BOX], keypoints=[[12, 12, 2, 0, 0, 0]])
    found = match_all(
        "keypoints", [(labeled, prediction([BOX], [0.9], keypoints=[[12 + distance, 12, 1, 90, 90, 1]]))], 1, 2
    )[0]
    assert found.hits[:, 0].tolist() == (IOU_THRESHOLDS < 0.72).tolist()


def test_sigmas() -> None:
    """A person's 17 are COCO's, any other number is its reciprocal."""
    assert keypoint_sigmas(17)[:3].tolist() == [0.026, 0.025, 0.025]
    assert keypoint_sigmas(2).tolist() == [0.5, 0.5]


def test_masks_by_hand() -> None:
    """A mask of half the object's pixels overlaps it by 0.5, whatever the boxes say."""
    outline = [[10.0, 10, 30, 10, 30, 30, 10, 30]]
    pixels = np.ones((20, 10), np.bool_)
    mask = rle_counts(pixels, 10, 10, HW)
    found = match_all(
        "masks", [(truth([BOX], outlines=[outline]), prediction([(0, 0, 1, 1)], [0.9], masks=[mask]))], 1
    )[0]
    assert found.hits[:, 0].tolist() == [True, *[False] * 9]


def test_rotated_boxes() -> None:
    """The same box found at another way of writing it is a hit everywhere; turned by 90 degrees it is none."""
    labeled = truth([(0, 0, 1, 1)] * 2, rotated=[(50, 50, 40, 10, 0.3), (150, 50, 40, 10, 0.3)])
    same = (50, 50, 10, 40, 0.3 + np.pi / 2)
    turned = (150, 50, 40, 10, 0.3 + np.pi / 2)
    found = match_all(
        "rotated boxes", [(labeled, prediction([(0, 0, 1, 1)] * 2, [0.9, 0.8], rotated=[same, turned]))], 1
    )[0]
    assert found.truths == 2
    assert found.hits[:, 0].all()
    assert not found.hits[:, 1].any()


def test_most_detections_count() -> None:
    """Of more than 300 predictions in an image the best 300 count."""
    boxes = [(i * 0.1, 0, i * 0.1 + 5, 5) for i in range(310)]
    found = match_all("boxes", [(truth([BOX]), prediction(boxes, np.linspace(0.1, 0.9, 310).tolist()))], 1)[0]
    assert len(found.scores) == 300
