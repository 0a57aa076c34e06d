"""Overlap of every box of one set with every box of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.rotated import probiou


def overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of all pairs, (M, N) float64, 0 to 1.

    Args:
        boxes: (M, 4) center x, center y, width, height, or (M, 5) with the angle in radians.
        others: (N, 4) or (N, 5), as the boxes are.

    Returns:
        Intersection over union of upright boxes, `probiou` of rotated ones.  Boxes without an area overlap nothing.
    """
    return _of_rotated(boxes, others) if boxes.shape[1] == 5 else _of_upright(boxes, others)


def _of_upright(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    half, other_half = boxes[:, 2:] / 2, others[:, 2:] / 2
    low, high = boxes[:, :2] - half, boxes[:, :2] + half
    other_low, other_high = others[:, :2] - other_half, others[:, :2] + other_half
    sides = np.minimum(high[:, None], other_high) - np.maximum(low[:, None], other_low)
    np.maximum(sides, 0, out=sides)
    common = sides[..., 0] * sides[..., 1]
    union = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0), np.float64)


def _of_rotated(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    count, other_count = len(boxes), len(others)
    first = boxes.astype(np.float32).repeat(other_count, axis=0).T
    second = np.tile(others.astype(np.float32), (count, 1)).T
    return np.nan_to_num(probiou(first, second).astype(np.float64)).reshape(count, other_count)
