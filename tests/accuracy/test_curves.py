"""Average precision, precision and recall."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rkdeploy.accuracy.curves import average_precision, best_threshold, coco_average_precision, precision_recall
from rkdeploy.accuracy.truth_matching import ClassMatches, match_all
from rkdeploy.accuracy.validators import Tail
from tests.accuracy.made import prediction, truth


def matches(scores: list[float], hits: list[bool], truths: int) -> ClassMatches:
    """The same hits at every overlap."""
    rows = np.tile(np.array(hits, np.bool_), (10, 1))
    return ClassMatches(np.array(scores), rows, np.ones_like(rows), truths)


HALF = matches([0.9, 0.8, 0.7], [True, False, True], 2)


def test_coco_by_hand() -> None:
    """Hit, miss, hit of two objects: precision 1 up to a recall of 0.5 (51 of 101 points), 2/3 from there to 1."""
    expected = (51 * 1.0 + 50 * 2 / 3) / 101
    assert coco_average_precision(HALF) == pytest.approx(np.full(10, expected))


@pytest.mark.parametrize("tail", ["sloped", "cut"])
def test_validator_by_hand(tail: Tail) -> None:
    """The same curve read linearly: 1 up to recall 0.5, there 2/3, and 2/3 to the end, where it falls to 0."""
    # np.interp reads 2/3 at 0.5 (the last point there), 2/3 between, and 0 at 1 (the closing point)
    read = np.concatenate((np.full(50, 1.0), np.full(50, 2 / 3), [0.0]))
    expected = ((read[1:] + read[:-1]) / 2).sum() / 100
    assert average_precision(HALF, tail) == pytest.approx(np.full(10, expected))


def test_how_a_curve_ends() -> None:
    """One of two objects found: the area is 1/2, and half as much again where the curve slopes down to recall 1."""
    found = matches([0.9], [True], 2)
    assert average_precision(found, "cut") == pytest.approx(np.full(10, 0.495))
    assert average_precision(found, "sloped") == pytest.approx(np.full(10, 0.75))


def test_perfect_and_empty() -> None:
    """All found is 1 for COCO, and 0.995 for the validators, whose curve ends in 0; nothing found is 0."""
    perfect = matches([0.9, 0.8], [True, True], 2)
    assert coco_average_precision(perfect) == pytest.approx(np.ones(10))
    assert average_precision(perfect, "cut") == pytest.approx(np.full(10, 0.995))
    nothing = matches([], [], 3)
    assert coco_average_precision(nothing) == pytest.approx(np.zeros(10))
    assert average_precision(nothing, "sloped") == pytest.approx(np.zeros(10))
    assert average_precision(matches([0.5], [False], 0), "cut") is None
    assert coco_average_precision(matches([0.5], [False], 0)) is None


def test_coco_agrees_with_the_tool() -> None:
    """On random boxes of two classes the reading is that of COCOeval.accumulate, to the last digits."""
    rng = np.random.default_rng(11)
    images, sides = [], ([], [])  # type: ignore[var-annotated]  # annotations as the tool has them
    for image_id in range(30):
        boxes = rng.uniform(0, 50, (6, 2))
        boxes = np.concatenate((boxes, boxes + rng.uniform(10, 40, (6, 2))), axis=1).astype(np.float32)
        moved = (boxes + rng.normal(0, 3, boxes.shape)).astype(np.float32)
        class_ids, scores = rng.integers(0, 2, 6), rng.random(6).astype(np.float32)
        guessed = np.where(rng.random(6) < 0.8, class_ids, 1 - class_ids)
        images.append(
            (truth(boxes.tolist(), class_ids.tolist()), prediction(moved.tolist(), scores.tolist(), guessed.tolist()))
        )
        for side, xyxy, ids in zip(sides, (boxes, moved), (class_ids, guessed), strict=True):
            for i, (x1, y1, x2, y2) in enumerate(xyxy.astype(np.float64)):
                side.append(
                    {
                        "id": len(side) + 1, "image_id": image_id, "category_id": int(ids[i]), "iscrowd": 0,
                        "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": float(scores[i]),
                    }
                )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = []
        for side in sides:
            coco = COCO()
            coco.dataset = {
                "images": [{"id": i} for i in range(30)],
                "annotations": side,
                "categories": [{"id": 0}, {"id": 1}],
            }
            coco.createIndex()
            loaded.append(coco)
        tool = COCOeval(*loaded, iouType="bbox")
        tool.evaluate()
        tool.accumulate()
    expected = tool.eval["precision"][:, :, :, 0, 2].mean(axis=1)  # (T, K)
    for class_id, found in enumerate(match_all("boxes", images, 2)):
        assert coco_average_precision(found) == pytest.approx(expected[:, class_id], abs=1e-9)
    assert 0.05 < expected.mean() < 0.95


def test_precision_and_recall_at_a_confidence() -> None:
    """Above 0.75: two said, one right, of two; equal to the confidence is not above it."""
    assert precision_recall(HALF, 0.75) == (0.5, 0.5)
    assert precision_recall(HALF, 0.8) == (1.0, 0.5)
    assert precision_recall(HALF, 0.95) == (None, 0.0)
    assert precision_recall(matches([0.9], [False], 0), 0.5) == (0.0, None)


def test_crowd_predictions_do_not_count() -> None:
    """A prediction that does not count at an overlap is neither in its curve nor in its precision."""
    counts = np.ones((10, 3), np.bool_)
    counts[:, 1] = False
    found = ClassMatches(HALF.scores, HALF.hits, counts, 2)
    assert coco_average_precision(found) == pytest.approx(np.ones(10))
    assert precision_recall(found, 0.1) == (1.0, 1.0)


def test_best_threshold_by_hand() -> None:
    """Hits at 0.9 and 0.8, misses from 0.3 on: F1 is 1 from 0.3 to below 0.8, and the middle of that is taken."""
    best = best_threshold([matches([0.9, 0.8, 0.3, 0.2], [True, True, False, False], 2), matches([], [], 0)])
    assert best is not None
    assert best.f1 == 1.0
    assert best.precision == 1.0
    assert best.recall == 1.0
    assert best.confidence == pytest.approx(0.55, abs=0.002)
    assert best_threshold([matches([0.9], [False], 0)]) is None
