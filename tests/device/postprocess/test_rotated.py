from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.device.postprocess import rotated as module
from rkdeploy.device.postprocess.rotated import nms_rotated, probiou, regularized, upright_around

LIMITS: dict[str, Any] = {"iou": 0.45, "max_det": 1000, "max_nms": 30_000}


def reference_probiou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """arXiv 2106.06072, equations 8 to 10, with matrices in double."""

    def gaussian(box: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        turn = np.array([[np.cos(box[4]), -np.sin(box[4])], [np.sin(box[4]), np.cos(box[4])]])
        return np.asarray(box[:2], np.float64), turn @ np.diag([box[2] ** 2 / 12, box[3] ** 2 / 12]) @ turn.T

    (mean_a, cov_a), (mean_b, cov_b) = gaussian(a.astype(np.float64)), gaussian(b.astype(np.float64))
    cov = (cov_a + cov_b) / 2
    apart = mean_a - mean_b
    distance = apart @ np.linalg.inv(cov) @ apart / 8
    distance += np.log(np.linalg.det(cov) / np.sqrt(np.linalg.det(cov_a) * np.linalg.det(cov_b))) / 2
    return float(1 - np.sqrt(1 - np.exp(-distance)))


def corners_of(rotated: NDArray[np.float32]) -> NDArray[np.float64]:
    """Corner by corner, (N, 4, 2)."""
    return np.array(
        [
            [
                (x + dx * w * np.cos(a) - dy * h * np.sin(a), y + dx * w * np.sin(a) + dy * h * np.cos(a))
                for dx, dy in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
            ]
            for x, y, w, h, a in rotated.astype(np.float64).tolist()
        ]
    )


def fast_nms(
    rotated: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[Any], iou: float
) -> list[int]:
    """ultralytics 8.4, TorchNMS.fast_nms: every pair, also of classes that class * 7680 keeps apart."""
    order = sorted(range(len(scores)), key=lambda index: -float(scores[index]))
    boxes = rotated.copy()
    boxes[:, :2] += class_ids[:, None].astype(np.float32) * np.float32(7680)
    kept = []
    for place, index in enumerate(order):
        better = boxes[order[:place]]
        this = np.repeat(boxes[index][:, None], place, axis=1)
        if not (probiou(np.ascontiguousarray(better.T), this) > iou).any():
            kept.append(index)
    return kept


def crowd(count: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    objects = max(1, count // 6)
    chosen = rng.integers(0, objects, count)
    center = rng.uniform(0, 600, (objects, 2))[chosen] + rng.normal(0, 4, (count, 2))
    size = rng.uniform(5, 120, (objects, 2))[chosen] * rng.uniform(0.8, 1.2, (count, 2))
    angle = rng.uniform(-np.pi / 4, 3 * np.pi / 4, objects)[chosen] + rng.normal(0, 0.1, count)
    rotated = np.concatenate((center, size, angle[:, None]), axis=1).astype(np.float32)
    scores = (rng.integers(1, 60, count) / 60).astype(np.float32)  # many equal ones
    return rotated, scores, rng.integers(0, classes, count).astype(np.int32)


def test_overlap_by_hand() -> None:
    """Two equal squares half a side apart: distance 3/8, overlap 1 - sqrt(1 - exp(-3/8)); a turn changes nothing."""
    a = np.array([[0, 0, 10, 10, 0.0]], np.float32).T
    b = np.array([[5, 0, 10, 10, 0.0]], np.float32).T
    # (5^2) / 8 / (100 / 12) = 0.375
    np.testing.assert_allclose(probiou(a, b), 1 - np.sqrt(1 - np.exp(-0.375)), rtol=1e-5)
    b[4] = 1.0
    np.testing.assert_allclose(probiou(a, b), 1 - np.sqrt(1 - np.exp(-0.375)), rtol=1e-5)


def test_overlap_equals_its_definition() -> None:
    """The written-out formula is the Hellinger distance of the two Gaussians."""
    boxes, _, _ = crowd(60, 1, 1)
    a, b = boxes[:30], boxes[30:]
    expected = [reference_probiou(*pair) for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(probiou(a.T.copy(), b.T.copy()), expected, atol=2e-5)
    assert max(expected) > 0.1


def test_suppression_by_hand() -> None:
    """A box goes when any better one covers it, one that goes itself included; of other classes and afar none does."""
    boxes = np.array([[0, 0, 20, 10, 0], [6, 0, 20, 10, 0], [12, 0, 20, 10, 0], [200, 0, 20, 10, 0]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.95], np.float32)
    same = np.zeros(4, np.int32)
    assert [round(reference_probiou(boxes[0], boxes[i]), 2) for i in (1, 2)] == [0.64, 0.35]
    # The third overlaps the first by too little, but the second, which the first has suppressed.
    assert nms_rotated(boxes, scores, same, **LIMITS).tolist() == [3, 0]
    assert nms_rotated(boxes, scores, np.array([0, 1, 0, 0], np.int32), **LIMITS).tolist() == [3, 0, 1, 2]
    assert nms_rotated(boxes, scores, same, **(LIMITS | {"iou": 0.7})).tolist() == [3, 0, 1, 2]
    assert nms_rotated(boxes, scores, same, **(LIMITS | {"iou": 0.7, "max_det": 2})).tolist() == [3, 0]
    assert nms_rotated(boxes, scores, same, **(LIMITS | {"iou": 0.7, "max_nms": 3})).tolist() == [3, 0, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count: int) -> None:
    """No box and one box come back as they are."""
    boxes, scores, class_ids = crowd(1, 1, 0)
    assert nms_rotated(boxes[:count], scores[:count], class_ids[:count], **LIMITS).tolist() == list(range(count))


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(2, 90),
    classes=st.integers(1, 4),
    iou=st.one_of(st.sampled_from([0.01, 0.45, 0.7, 0.999, 1.0]), st.floats(0.01, 1.0)),
    seed=st.integers(0, 2**32 - 1),
    pairs=st.sampled_from([1, 50, 1 << 18]),
)
def test_equals_upstream(count: int, classes: int, iou: float, seed: int, pairs: int) -> None:
    """The sweep finds what comparing every pair finds, however many pairs it takes at once."""
    boxes, scores, class_ids = crowd(count, classes, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_PAIRS", pairs)
        kept = nms_rotated(boxes, scores, class_ids, **(LIMITS | {"iou": iou}))
    assert kept.tolist() == fast_nms(boxes, scores, class_ids, iou)


def test_boxes_without_area() -> None:
    """Boxes without a width neither fail nor hide others."""
    boxes = np.array([[5, 5, 0, 0, 0], [50, 5, 10, 0, 1], [100, 5, 20, 10, 0]], np.float32)
    kept = nms_rotated(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32), **LIMITS)
    assert 2 in kept


def test_upright_box_around() -> None:
    """The upright box touches the outermost corners."""
    boxes, _, _ = crowd(40, 1, 2)
    corners = corners_of(boxes)
    expected = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
    found = upright_around(boxes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert upright_around(boxes[:0]).shape == (0, 4)


def test_regularized() -> None:
    """Angles come into [0, pi / 2) with the same corners; a quarter turn exchanges width and height."""
    boxes = np.array([[1, 2, 30, 10, a] for a in (-0.5, 0.0, 1.0, np.pi / 2, 2.0, 3.5, -4.0)], np.float32)
    found = regularized(boxes)
    assert ((found[:, 4] >= 0) & (found[:, 4] < np.pi / 2)).all()
    assert found[:, 2].tolist() == [10, 30, 30, 10, 10, 30, 10]
    np.testing.assert_allclose(found[0], [1, 2, 10, 30, np.pi / 2 - 0.5], atol=1e-6)
    for ours, given_box in zip(corners_of(found), corners_of(boxes), strict=True):
        apart = np.linalg.norm(ours[:, None] - given_box[None], axis=2)
        np.testing.assert_allclose(apart.min(axis=1), 0, atol=1e-4)
