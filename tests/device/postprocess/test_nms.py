from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.device.postprocess import nms as module
from rkdeploy.device.postprocess.nms import nms

pytestmark = pytest.mark.usefixtures("decode")

LIMITS: dict[str, Any] = {"iou": 0.45, "max_det": 1000, "max_nms": 30_000}


def upstream_nms(
    xyxy: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float
) -> list[int]:
    """torchvision.ops.nms (CPU) on boxes + class * 7680, as YOLOv5 calls it, pair by pair in float32."""
    order = sorted(range(len(scores)), key=lambda index: -float(scores[index]))
    boxes = xyxy + class_ids[:, None].astype(np.float32) * np.float32(7680)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for index in order:
        x1, y1, x2, y2 = boxes[index]
        for better in kept:
            left, top, right, bottom = boxes[better]
            width = max(np.float32(0), min(x2, right) - max(x1, left))
            height = max(np.float32(0), min(y2, bottom) - max(y1, top))
            union = areas[better] + areas[index] - width * height
            # A Python float on the right: torchvision compares with a double.
            if union > 0 and float(width * height / union) > iou:
                break
        else:
            kept.append(index)
    return kept


def crowd(count: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    objects = rng.uniform(0, 600, (max(1, count // 6), 2))
    sizes = rng.uniform(5, 120, objects.shape)
    chosen = rng.integers(0, len(objects), count)
    center = objects[chosen] + rng.normal(0, 4, (count, 2))
    half = sizes[chosen] * rng.uniform(0.8, 1.2, (count, 2)) / 2
    xyxy = np.concatenate((center - half, center + half), axis=1).astype(np.float32)
    scores = (rng.integers(1, 60, count) / 60).astype(np.float32)  # many equal ones
    return xyxy, scores, rng.integers(0, classes, count).astype(np.int32)


def test_by_hand() -> None:
    """Two boxes with an IoU of 1/3 and one apart: at 0.3 the weaker of the two goes, at 0.4 all stay."""
    xyxy = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    same = np.zeros(3, np.int32)
    assert nms(xyxy, scores, same, **(LIMITS | {"iou": 0.3})).tolist() == [1, 2]
    assert nms(xyxy, scores, same, **(LIMITS | {"iou": 0.4})).tolist() == [1, 2, 0]


def test_classes_do_not_suppress_one_another() -> None:
    """Equal boxes of different classes all stay, of one class only the best."""
    xyxy = np.tile(np.array([10, 10, 50, 50], np.float32), (4, 1))
    scores = np.array([0.6, 0.9, 0.8, 0.7], np.float32)
    assert nms(xyxy, scores, np.array([0, 1, 1, 79], np.int32), **LIMITS).tolist() == [1, 3, 0]


def test_suppressed_boxes_do_not_suppress() -> None:
    """In a chain of three the second goes for the first, so the third stays."""
    xyxy = np.array([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(xyxy, scores, np.zeros(3, np.int32), **LIMITS).tolist() == [0, 2]


@pytest.mark.parametrize("iou", [0.5, 0.6])
def test_overlap_equal_to_the_threshold(iou: float) -> None:
    """As in torchvision a float32 IoU meets a double: 1/2 is not greater than 0.5, but float32 3/5 is than 0.6."""
    width = 5 if iou == 0.5 else 6
    xyxy = np.array([[0, 0, 10, 10], [0, 0, width, 10]], np.float32)
    kept = nms(xyxy, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32), **(LIMITS | {"iou": iou}))
    assert kept.tolist() == ([0, 1] if iou == 0.5 else [0])


def test_nothing() -> None:
    """No candidates, no result."""
    kept = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), **LIMITS)
    assert kept.shape == (0,)


@pytest.mark.parametrize("max_pairs", [0, 1 << 19])
def test_boxes_without_area(monkeypatch: pytest.MonkeyPatch, max_pairs: int) -> None:
    """Boxes without width or height suppress nothing and are not suppressed, without a warning."""
    monkeypatch.setattr(module, "_MAX_PAIRS", max_pairs)
    xyxy = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 5, 10, 5], [0, 5, 10, 5], [5, 0, 5, 10]], np.float32)
    kept = nms(xyxy, np.linspace(0.9, 0.5, 5, dtype=np.float32), np.zeros(5, np.int32), **LIMITS)
    assert kept.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("max_pairs", [0, 1 << 19])
def test_limits(monkeypatch: pytest.MonkeyPatch, max_pairs: int) -> None:
    """max_det cuts the result, max_nms the candidates, both from the weak end; the arguments stay as they were."""
    monkeypatch.setattr(module, "_MAX_PAIRS", max_pairs)
    xyxy, scores, class_ids = crowd(300, 3, 0)
    before = xyxy.copy()
    everything = nms(xyxy, scores, class_ids, **LIMITS)
    assert nms(xyxy, scores, class_ids, **(LIMITS | {"max_det": 9})).tolist() == everything[:9].tolist()
    best = np.argsort(-scores, kind="stable")[:40]
    few = nms(xyxy, scores, class_ids, **(LIMITS | {"max_nms": 40}))
    assert few.tolist() == best[upstream_nms(xyxy[best], scores[best], class_ids[best], 0.45)].tolist()
    np.testing.assert_array_equal(xyxy, before)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 150),
    classes=st.sampled_from([1, 2, 80]),
    iou=st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.6, 0.7, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    whole=st.booleans(),
)
def test_equals_brute_force(count: int, classes: int, iou: float, seed: int, whole: bool) -> None:
    """Both ways of suppressing give the indices of the plain greedy loop, with ties and overlaps at the threshold."""
    xyxy, scores, class_ids = crowd(count, classes, seed)
    if whole:
        xyxy = np.round(xyxy / 16) * 16  # many overlaps that are simple fractions, and boxes without area
    expected = upstream_nms(xyxy, scores, class_ids, iou)
    with pytest.MonkeyPatch.context() as patch:
        for max_pairs in (0, 1 << 19):
            patch.setattr(module, "_MAX_PAIRS", max_pairs)
            assert nms(xyxy, scores, class_ids, **(LIMITS | {"iou": iou})).tolist() == expected


def test_crowds_equal_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of candidates give the same result by pairs and by kept box."""
    xyxy, scores, class_ids = crowd(4000, 20, 5)
    expected = nms(xyxy, scores, class_ids, **LIMITS)
    monkeypatch.setattr(module, "_MAX_PAIRS", 0)
    np.testing.assert_array_equal(nms(xyxy, scores, class_ids, **LIMITS), expected)
