"""The point of a track that lines and zones look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.tracking.found_tracks import Point

Anchor = Literal["center", "bottom"]
_MARGIN_SHARE: Final = 0.05
_LEAST_MARGIN: Final = 2.0
"""Boxes of one object differ from frame to frame by about 1 % of their size, and by a pixel."""


@dataclass(frozen=True, slots=True)
class AnchoredTrack:
    """A track at one point.

    Attributes:
        track_id: from 1.
        class_id: of its objects.
        point: x, y in pixels.
        margin: distance in pixels that it must be beyond a line or an edge to have passed it: 5 % of the object's size
            (root of its area), at least 2 pixels.
    """

    track_id: int
    class_id: int
    point: Point
    margin: float


def anchored_tracks(
    xyxy: NDArray[np.float32], class_ids: NDArray[np.int32], ids: NDArray[np.int32], anchor: Anchor
) -> list[AnchoredTrack]:
    """The tracks of a frame's objects.

    Args:
        xyxy: (N, 4) boxes in pixels.
        class_ids: (N,).
        ids: (N,) ids of their tracks; objects with 0 are left out.
        anchor: center of the box, or the middle of its lower side.
    """
    rows = (ids > 0).nonzero()[0]
    boxes = xyxy[rows].astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    points = (boxes[:, :2] + boxes[:, 2:]) / 2
    if anchor == "bottom":
        points[:, 1] = boxes[:, 3]
    margins = np.maximum(_MARGIN_SHARE * np.sqrt(np.maximum(sides.prod(axis=1), 0)), _LEAST_MARGIN)
    rowwise = zip(ids[rows].tolist(), class_ids[rows].tolist(), points.tolist(), margins.tolist(), strict=True)
    return [AnchoredTrack(track_id, class_id, (x, y), margin) for track_id, class_id, (x, y), margin in rowwise]
