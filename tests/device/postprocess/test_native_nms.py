from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.device.postprocess.nms import nms
from tests.device.postprocess.both_ways import both_ways


@settings(deadline=None, max_examples=400)
@given(
    count=st.integers(0, 120),
    classes=st.sampled_from(
        [(0, 1), (0, 2), (0, 80), (0, 1000), (-3, 3), (254, 260), (32766, 32770), (2**30, 2**30 + 4)]
    ),
    spread_px=st.sampled_from([40.0, 600.0, 5000.0, 9000.0, 30_000.0]),
    content=st.sampled_from(["plain", "whole", "inside out", "no numbers"]),
    iou=st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.6, 1.0]),
    max_det=st.sampled_from([1, 5, 1000]),
    max_nms=st.sampled_from([1, 20, 30_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_nms(
    count: int,
    classes: tuple[int, int],
    spread_px: float,
    content: str,
    iou: float,
    max_det: int,
    max_nms: int,
    seed: int,
) -> None:
    """C keeps the boxes that numpy keeps, in its order.

    With ties, overlaps at the threshold, class ids and boxes so large that classes meet, inverted boxes, and boxes with
    non-finite coordinates.
    """
    rng = np.random.default_rng(seed)
    center = rng.uniform(-spread_px / 10, spread_px, (count, 2))
    half = rng.uniform(1, spread_px / 4, (count, 2))
    xyxy = np.concatenate((center - half, center + half), axis=1).astype(np.float32)
    if content == "whole":
        xyxy = np.round(xyxy / 16) * 16
    if content == "inside out":
        turned = rng.random(count) < 0.3
        xyxy[turned, :2], xyxy[turned, 2:] = xyxy[turned, 2:], xyxy[turned, :2].copy()
        xyxy[rng.random(count) < 0.2, 2] -= np.float32(spread_px / 3)
    if content == "no numbers":
        for number in (np.nan, np.inf, -np.inf):
            xyxy[rng.random((count, 4)) < 0.03] = number
    scores = (rng.integers(1, 20, count) / 20).astype(np.float32)
    class_ids = rng.integers(*classes, count).astype(np.int32)

    def kept() -> NDArray[np.intp]:
        with np.errstate(all="ignore"):
            return nms(xyxy, scores, class_ids, iou=iou, max_det=max_det, max_nms=max_nms)

    expected, found = both_ways(kept)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_a_crowd() -> None:
    """Thousands of candidates of one class."""
    rng = np.random.default_rng(0)
    center = rng.uniform(0, 640, (6000, 2))
    half = rng.uniform(4, 60, (6000, 2))
    xyxy = np.concatenate((center - half, center + half), axis=1).astype(np.float32)
    scores, class_ids = rng.random(6000).astype(np.float32), np.zeros(6000, np.int32)
    expected, found = both_ways(lambda: nms(xyxy, scores, class_ids, iou=0.45, max_det=1000, max_nms=30_000))
    np.testing.assert_array_equal(found, expected)
    assert 200 < len(found) <= 1000


def test_other_memory() -> None:
    """Boxes and classes that are views with gaps, or of other dtypes, are read as what they are."""
    rng = np.random.default_rng(1)
    boxes = np.abs(rng.normal(50, 20, (60, 8))).cumsum(axis=1)
    wide = boxes.astype(np.float32)[:, 1::2]
    scores, class_ids = rng.random(60).astype(np.float32), np.repeat(rng.integers(0, 3, 60), 2)[::2]
    expected, found = both_ways(lambda: nms(wide, scores, class_ids.astype(np.int64), iou=0.3, max_det=99, max_nms=99))
    np.testing.assert_array_equal(found, expected)
