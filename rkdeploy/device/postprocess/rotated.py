"""Rotated boxes: non-maximum suppression, the upright box around each, and a unique notation.

A rotated box is (center x, center y, width, height, angle in radians from the x axis toward the y axis).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.sweep_and_prune import class_offsets, pairs_in_runs

_EPSILON: Final = np.float32(1e-7)
_MAX_PAIRS: Final = 1 << 18
"""Largest number of pairs that are compared at once: about 30 MB of working memory."""


def nms_rotated(
    rotated: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    *,
    iou: float,
    max_det: int,
    max_nms: int,
) -> NDArray[np.intp]:
    """Indices of the candidates that stay, best score first.

    As in ultralytics (8.4, utils/nms.py, `TorchNMS.fast_nms`): a box is dropped when a better one of its class
    overlaps it by more than `iou`, even if that one is dropped itself; the overlap is `probiou`, in float32, of boxes
    that class * 7680 has been added to.

    Args:
        rotated: (N, 5) float32, any frame; coordinates of no more than a few thousand pixels.
        scores: (N,) float32.  Among equal scores the earlier candidate comes first.
        class_ids: (N,) int32.
        iou: threshold, 0..1.
        max_det: largest number of indices returned.
        max_nms: number of best candidates that are considered.

    Returns:
        (K,) intp indices into the candidates, K <= max_det.
    """
    order = (-scores).argsort(kind="stable")[:max_nms]
    count = len(order)
    if count < 2:
        return order[:max_det]
    boxes = rotated.take(order, axis=0).T.astype(np.float32, order="C")
    boxes[:2] += class_offsets(class_ids.take(order))

    # Only boxes that are near one another overlap.  In the order of their left ends of reach, the partners of a box are
    # the run of boxes that begin before it ends.
    reach = _reach(boxes, iou)
    left, right = boxes[0] - reach, boxes[0] + reach
    by_left = left.argsort()
    runs = left.take(by_left).searchsorted(right.take(by_left), side="right") - np.arange(1, count + 1)
    np.maximum(runs, 0, out=runs)
    ends = runs.cumsum()
    stays = np.ones(count, np.bool_)
    start = 0
    while start < count:
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(ends.searchsorted(before + _MAX_PAIRS, side="right")))
        first, second = (by_left.take(places) for places in pairs_in_runs(runs[start:stop], start))
        better, worse = np.minimum(first, second), np.maximum(first, second)
        apart = np.abs(boxes[1].take(better) - boxes[1].take(worse))
        near = (apart <= reach.take(better) + reach.take(worse)).nonzero()[0]
        better, worse = better.take(near), worse.take(near)
        above = probiou(boxes.take(better, axis=1), boxes.take(worse, axis=1)) > iou
        stays[worse[above]] = False
        start = stop
    return order.take(stays.nonzero()[0][:max_det])


def probiou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of pairs of boxes taken as Gaussians: 1 minus their Hellinger distance (arXiv 2106.06072).

    In the order of operations of ultralytics' `batch_probiou` (8.4, utils/metrics.py).

    Args:
        a: (5, N) float32.
        b: (5, N) float32.

    Returns:
        (N,) float32.
    """
    a1, b1, c1 = _covariance(a)
    a2, b2, c2 = _covariance(b)
    dx, dy = a[:2] - b[:2]
    sum_a, sum_b, sum_c = a1 + a2, b1 + b2, c1 + c2
    determinant = sum_a * sum_b - sum_c * sum_c
    t1 = (sum_a * (dy * dy) + sum_b * (dx * dx)) / (determinant + _EPSILON) * np.float32(0.25)
    t2 = (sum_c * -dx * dy) / (determinant + _EPSILON) * np.float32(0.5)
    own = np.maximum(a1 * b1 - c1 * c1, 0) * np.maximum(a2 * b2 - c2 * c2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area: NaN compares as "does not overlap"
        t3 = np.log(determinant / (np.float32(4.0) * np.sqrt(own) + _EPSILON) + _EPSILON) * np.float32(0.5)
    distance = np.clip(t1 + t2 + t3, _EPSILON, np.float32(100.0))
    return np.asarray(1 - np.sqrt(1 - np.exp(-distance) + _EPSILON))


def upright_around(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest upright box around each rotated one: (N, 5) to x1, y1, x2, y2 (N, 4)."""
    x, y, width, height, angle = rotated.T
    cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    half = np.float32(0.5)
    half_x, half_y = (width * cos + height * sin) * half, (width * sin + height * cos) * half
    return np.ascontiguousarray(np.stack((x - half_x, y - half_y, x + half_x, y + half_y)).T, np.float32)


def regularized(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same boxes with angles in [0, pi / 2), width and height exchanged if that takes a quarter turn.

    As in ultralytics (8.4, utils/ops.py, `regularize_rboxes`).
    """
    boxes = rotated.copy()
    half_turn, quarter_turn = np.float32(math.pi), np.float32(math.pi / 2)
    exchanged = np.remainder(rotated[:, 4], half_turn) >= quarter_turn
    boxes[exchanged, 2], boxes[exchanged, 3] = rotated[exchanged, 3], rotated[exchanged, 2]
    boxes[:, 4] = np.remainder(rotated[:, 4], quarter_turn)
    return boxes


def _covariance(
    boxes: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Covariance [[a, c], [c, b]] of boxes (5, N) taken as Gaussians."""
    variance_w, variance_h = boxes[2:4] * boxes[2:4] / np.float32(12.0)
    cos, sin = np.cos(boxes[4]), np.sin(boxes[4])
    cos2, sin2 = cos * cos, sin * sin
    return (
        variance_w * cos2 + variance_h * sin2,
        variance_w * sin2 + variance_h * cos2,
        (variance_w - variance_h) * cos * sin,
    )


def _reach(boxes: NDArray[np.float32], iou: float) -> NDArray[np.float32]:
    """Reach of each box: boxes whose centers are further apart than the sum of their reaches overlap by at most `iou`.

    probiou > iou means a Bhattacharyya distance below -ln(1 - (1 - iou)^2).  It is at least d^2 / (4 s), with d between
    the centers and s the larger eigenvalue of the sum of both covariances, which is at most the sum of their own larger
    ones: the square of the longer side / 12.  So d^2 < 4 limit (m1^2 + m2^2) / 12 <= (reach1 + reach2)^2.

    Args:
        boxes: (5, N).
        iou: threshold, 0..1.

    Returns:
        (N,) float32, in the units of the boxes.
    """
    share = 1.0 - (1.0 - iou) ** 2
    # Near 0 the epsilons of `probiou` and its cut at 100 decide.
    limit = min(-math.log(share), 100.0) if share > 0.0 else 100.0
    longer = np.maximum(np.abs(boxes[2]), np.abs(boxes[3]))
    return np.asarray(longer * np.float32(1.01 * math.sqrt(limit / 3.0)) + np.float32(0.1), np.float32)
