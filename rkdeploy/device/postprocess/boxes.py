"""Boxes as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairwise_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair.

    Args:
        a: (N, 4) float32 x1, y1, x2, y2.
        b: (M, 4) float32 x1, y1, x2, y2, in the frame of `a`.

    Returns:
        (N, M) float32, 0 where either box has no area.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), axis=1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1)
    union = area_a[:, None] + area_b[None, :] - shared
    iou: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared, np.float32), where=union > 0)
    return iou


def xyxy_from_xywh(xywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Center and size (4, N) to corners x1, y1, x2, y2 (N, 4)."""
    half = xywh[2:] * np.float32(0.5)
    xyxy = np.empty((xywh.shape[1], 4), np.float32)
    with np.errstate(invalid="ignore"):  # inf - inf, when the network overflowed
        np.subtract(xywh[:2], half, out=xyxy.T[:2])
        np.add(xywh[:2], half, out=xyxy.T[2:])
    return xyxy
