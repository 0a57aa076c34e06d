"""Intersection over union of outlines and rotated boxes, exact, in source pixels.

Each side of the box cuts off what lies outside of it (I. Sutherland and G. Hodgman, *Reentrant Polygon Clipping*,
1974).  The box is convex; the outline need not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Point = tuple[float, float]


def box_overlaps(
    boxes: Sequence[NDArray[np.floating[Any]]], outlines: Sequence[NDArray[np.floating[Any]]], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Overlap of every box with every outline.

    Args:
        boxes: N, each the four corners (4, 2) in order, x and y.
        outlines: G, each (P, 2) in order.
        crowd: (G,); with these the overlap is the share of the box, as COCO's tool has it.

    Returns:
        (N, G) from 0 to 1.
    """
    found = np.zeros((len(boxes), len(outlines)))
    areas = [[abs(_area(points.tolist())) for points in side] for side in (boxes, outlines)]
    limits = [[(*points.min(axis=0), *points.max(axis=0)) for points in side] for side in (boxes, outlines)]
    for i, box in enumerate(boxes):
        for j, outline in enumerate(outlines):
            if not _touch(limits[0][i], limits[1][j]):
                continue
            shared = abs(_area(_clipped(outline.tolist(), box.tolist())))
            whole = areas[0][i] if crowd[j] else areas[0][i] + areas[1][j] - shared
            found[i, j] = shared / whole if whole > 0 else 0.0
    return found


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def _area(points: Sequence[Sequence[float]]) -> float:
    """Signed area of a polygon."""
    if len(points) < 3:
        return 0.0
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise((*points, points[0]))) / 2


def _clipped(outline: Sequence[Sequence[float]], box: Sequence[Sequence[float]]) -> list[_Point]:
    """The part of a polygon inside a convex one."""
    points: list[_Point] = [(x, y) for x, y in outline]
    sign = 1.0 if _area(box) >= 0 else -1.0
    for (x1, y1), (x2, y2) in pairwise((*box, box[0])):
        if not points:
            break
        a, b = sign * (y1 - y2), sign * (x2 - x1)
        c = -(a * x1 + b * y1)
        points = _half(points, a, b, c)
    return points


def _half(points: Sequence[_Point], a: float, b: float, c: float) -> list[_Point]:
    """The part of a polygon where a x + b y + c is not negative."""
    kept: list[_Point] = []
    for (x1, y1), (x2, y2) in pairwise((*points, points[0])):
        first, second = a * x1 + b * y1 + c, a * x2 + b * y2 + c
        if first >= 0:
            kept.append((x1, y1))
        if (first >= 0) != (second >= 0):
            share = first / (first - second)
            kept.append((x1 + (x2 - x1) * share, y1 + (y2 - y1) * share))
    return kept
