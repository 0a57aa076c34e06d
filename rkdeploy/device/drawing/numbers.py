"""Index numbers next to keypoints without a known meaning, to distinguish them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.fills import paste
from rkdeploy.device.drawing.keypoints import visible_points
from rkdeploy.device.drawing.labels import overlap
from rkdeploy.device.drawing.outlines import near
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.text import stamp

_SMALLER = 0.75  # relative to a label's letters
_LEAST_CAP_PX = 6
_ROOM = 6  # smallest object that gets numbers, in heights of a number
_MOST = 200  # per frame


def draw_numbers(drawn: NDArray[np.uint8], points: NDArray[np.float32], taken: NDArray[np.int32], pen: Pen) -> None:
    """Draw each point's index next to it, in place, unless the place is taken.

    Args:
        drawn: (H, W, 3) uint8.
        points: (N, K, 3) float32 x, y in pixels and visibility; the most important object is last.
        taken: (M, 4) int32 boxes that must stay free: labels and panels.
        pen: sizes.
    """
    scale = max(_SMALLER, _LEAST_CAP_PX / pen.cap_px)
    small = replace(pen, font_scale=pen.font_scale * scale, text_px=max(1, round(pen.text_px * scale)))
    offset = pen.limb_px // 2
    used = [taken]
    room = _MOST
    for of_object in points[::-1]:
        seen = np.flatnonzero(visible_points(of_object))
        xy = near(of_object[seen, :2], drawn)
        if not len(seen) or np.ptp(xy, axis=0).max() < _ROOM * pen.cap_px:
            continue
        stamps = [stamp(str(i), small) for i in seen.tolist()]
        size = np.array([(cover.shape[1], cover.shape[0]) for _, cover in stamps], np.int32)
        left_top = np.rint(xy).astype(np.int32) + np.array((offset, -offset), np.int32)
        left_top[:, 1] -= size[:, 1]
        boxes = np.hstack((left_top, left_top + size))
        free = overlap(boxes, np.concatenate(used)) == 0
        touching = _touching(boxes)
        kept: list[int] = []
        for i in np.flatnonzero(free).tolist():
            if len(kept) < room and not touching[i, kept].any():
                picture, cover = stamps[i]
                paste(drawn, picture, cover, int(left_top[i, 0]), int(left_top[i, 1]))
                kept.append(i)
        used.append(boxes[kept])
        room -= len(kept)


def _touching(boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Overlap of each box with each: (K, 4) -> (K, K) bool."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    return np.asarray((high > low).all(axis=2))
