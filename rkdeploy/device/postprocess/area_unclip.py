"""Shrunken rectangles of text, enlarged to the whole text.

PaddleOCR enlarges with Clipper (A. Johnson, polyclipping 6.4), whose polygons have whole numbers: corners are truncated
to whole pixels of the map, sides are moved outward, corners are rounded by arcs, and every point of the result is a
whole pixel.  A text of ten pixels would differ by a tenth without this, so the same points are computed here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ARC_TOLERANCE: Final = 0.25
"""Clipper's: largest distance in pixels between an arc and its chords."""
_FLAT: Final = 1.0
"""Clipper's: a corner whose sine times the distance is less gets no arc."""


def outlines_around(corners: NDArray[np.float32], distances: NDArray[np.float64]) -> NDArray[np.int32]:
    """The points of each quadrilateral's outline at a distance, as Clipper gives them.

    Args:
        corners: (N, 4, 2) float32, x and y in pixels of the map, in the order of the outline.
        distances: (N,) float64 pixels outward.

    Returns:
        (N, P, 2) int32; where an outline has fewer points than P, its last one is repeated.
    """
    points = np.trunc(corners).astype(np.float64)
    following = np.roll(points, -1, axis=1)
    areas = (points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]).sum(axis=1)
    points[areas < 0] = points[areas < 0, ::-1]
    along = np.roll(points, -1, axis=1) - points
    lengths = np.hypot(along[..., 0], along[..., 1])
    behind = np.stack((along[..., 1], -along[..., 0]), axis=-1) / np.maximum(lengths, 1e-12)[..., None]
    before = np.roll(behind, 1, axis=1)
    return _arcs(points, before, behind, distances)


def _arcs(
    points: NDArray[np.float64],
    before: NDArray[np.float64],
    behind: NDArray[np.float64],
    distances: NDArray[np.float64],
) -> NDArray[np.int32]:
    """The arcs around the corners.

    Args:
        points: (N, 4, 2), the corners.
        before: (N, 4, 2), unit normals, outward, of the sides that end in them.
        behind: (N, 4, 2), those of the sides that begin there.
        distances: (N,).
    """
    turns = np.pi / np.arccos(1 - _ARC_TOLERANCE / np.maximum(distances, _ARC_TOLERANCE))
    turns = np.minimum(turns, distances * np.pi)
    sines = before[..., 0] * behind[..., 1] - behind[..., 0] * before[..., 1]
    cosines = (before * behind).sum(axis=-1)
    flat = (np.abs(sines * distances[:, None]) < _FLAT) & (cosines > 0)
    counts = np.maximum(np.floor(turns[:, None] / (2 * np.pi) * np.abs(np.arctan2(sines, cosines)) + 0.5), 1)
    step = 2 * np.pi / np.maximum(turns, 1e-12)
    sine, cosine = np.sin(step)[:, None], np.cos(step)[:, None]
    x, y = before[..., 0], before[..., 1]
    found = [np.stack((x, y), axis=-1)]
    for place in range(1, int(counts.max(initial=1))):
        x, y = x * cosine - sine * y, x * sine + y * cosine
        there = ((counts > place) & ~flat)[..., None]
        found.append(np.where(there, np.stack((x, y), axis=-1), found[-1]))
    found.append(np.where(flat[..., None], found[0], behind))
    moved = points[:, None] + np.stack(found, axis=1) * distances[:, None, None, None]
    whole = np.asarray(np.trunc(moved + np.copysign(0.5, moved)), np.int32)
    return whole.reshape(len(points), -1, 2)
