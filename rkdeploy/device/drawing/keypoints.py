"""Keypoints: limbs and points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import INK, Bgr
from rkdeploy.device.drawing.outlines import SHIFT, fixed_point, near
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.skeletons import Skeleton

VISIBLE = 0.5
"""Points whose visibility is lower are not drawn."""

_LIMB_SHARE = 1 / 45  # fraction of an object's size
_CROWDED = 1.5  # points closer than this, in dot widths, are drawn small
_HEAD = np.array([(-1.0, 0.45), (0.0, 0.0), (-1.0, -0.45)], np.float32)
_HEAD_SHARE = 0.3  # largest fraction of the limb
_HEAD_WIDTHS = 5.0  # largest fraction of the limb's width


@dataclass(frozen=True, slots=True, eq=False)
class Strokes:
    """A skeleton grouped by color: one OpenCV call draws everything of a color.

    Attributes:
        pairs: (L, 2) keypoints of each limb.
        limbs: indices into `pairs` of each color.
        points: keypoints of each color.
        arrow: True for an arrow head at the end of each limb.
    """

    pairs: NDArray[np.intp]
    limbs: tuple[tuple[Bgr, NDArray[np.intp]], ...]
    points: tuple[tuple[Bgr, NDArray[np.intp]], ...]
    arrow: bool


@lru_cache(maxsize=8)
def strokes_of(skeleton: Skeleton) -> Strokes:
    """The skeleton grouped by color; cached, because it stays the same from frame to frame."""
    pairs = [(limb.start, limb.end) for limb in skeleton.limbs]
    return Strokes(
        np.array(pairs, np.intp).reshape(-1, 2),
        _by_color(limb.color for limb in skeleton.limbs),
        _by_color(skeleton.point_colors),
        skeleton.arrow,
    )


def visible_points(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mask of the (K, 3) keypoints to draw: those with finite coordinates that the model says are visible."""
    return np.asarray(np.isfinite(points).all(axis=1) & (points[:, 2] >= VISIBLE))


def draw_keypoints(drawn: NDArray[np.uint8], points: NDArray[np.float32], strokes: Strokes, pen: Pen) -> None:
    """Draw one object's limbs and points, in place.

    Args:
        drawn: (H, W, 3) uint8.
        points: (K, 3) float32 x, y in pixels and visibility.
        strokes: of a skeleton with K points.
        pen: sizes; a small object gets thinner lines.
    """
    seen = visible_points(points)
    if not seen.any():
        return
    xy = near(np.where(seen[:, None], points[:, :2], 0), drawn)
    limb_px = min(pen.limb_px, max(1, round(float(np.ptp(xy[seen], axis=0).max()) * _LIMB_SHARE)))
    rim_px = 2 * min(pen.edge_px, limb_px)
    small_px, large_px = limb_px + 1, limb_px + limb_px // 2 + 2
    large = ~_crowded(xy, seen, _CROWDED * large_px)
    at = fixed_point(xy)
    limbs = at[strokes.pairs]
    whole = seen[strokes.pairs].all(axis=1)
    dots = at[:, None].repeat(2, axis=1)  # a line of length 0 is a dot, and one call draws many
    if strokes.arrow:
        limbs = np.concatenate((limbs, fixed_point(_arrow_heads(xy[strokes.pairs], limb_px))), axis=1)
        seen[strokes.pairs[:, 1]] = False  # the arrow head marks the point
    _lines(drawn, limbs[whole], INK, limb_px + rim_px)
    _lines(drawn, dots[seen & ~large], INK, small_px + rim_px)
    for color, of_color in strokes.limbs:
        _lines(drawn, limbs[of_color[whole[of_color]]], color, limb_px)
    _lines(drawn, dots[seen & large], INK, large_px + rim_px)  # over the limbs: a joint has a rim all around
    for color, of_color in strokes.points:
        _lines(drawn, dots[of_color[(seen & ~large)[of_color]]], color, small_px)
        _lines(drawn, dots[of_color[(seen & large)[of_color]]], color, large_px)


def _by_color(colors: Iterable[Bgr]) -> tuple[tuple[Bgr, NDArray[np.intp]], ...]:
    groups: dict[Bgr, list[int]] = {}
    for index, color in enumerate(colors):
        groups.setdefault(color, []).append(index)
    return tuple((color, np.array(indices, np.intp)) for color, indices in groups.items())


def _lines(drawn: NDArray[np.uint8], lines: NDArray[np.int32], color: Bgr, width: int) -> None:
    """Draw open lines, (n, points, 2) in eighths of a pixel."""
    if len(lines):
        cv2.polylines(drawn, list(lines), False, color, width, cv2.LINE_AA, SHIFT)


def _crowded(xy: NDArray[np.float32], seen: NDArray[np.bool_], near_px: float) -> NDArray[np.bool_]:
    """Mask of the points that have another one nearer than `near_px`."""
    apart = np.abs(xy[:, None] - xy).max(axis=2)
    return np.asarray(((apart < near_px) & seen).sum(axis=1) > 1)


def _arrow_heads(limbs: NDArray[np.float32], limb_px: int) -> NDArray[np.float32]:
    """Three points at the end of each limb, the tip in the middle: (n, 2, 2) -> (n, 3, 2)."""
    end = limbs[:, 1]
    along = end - limbs[:, 0]
    length = np.hypot(along[:, 0], along[:, 1])[:, None]
    unit = along / np.maximum(length, np.float32(1e-6))
    across = np.stack((-unit[:, 1], unit[:, 0]), axis=1)
    reach = np.minimum(_HEAD_WIDTHS * limb_px, _HEAD_SHARE * length)
    heads = end[:, None] + reach[:, None] * (_HEAD[:, :1] * unit[:, None] + _HEAD[:, 1:] * across[:, None])
    return np.asarray(heads, np.float32)
