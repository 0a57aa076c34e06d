"""Detections as a tracker measures them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredBoxes:
    """The detections of one frame.

    Attributes:
        boxes: (N, 4) float64 center x, center y, width, height in pixels; (N, 5) with the angle in radians where boxes
            are rotated, the width the longer side.
        scores: (N,) float64.
        class_ids: (N,) int32.
        high: (N,) bool, True for scores above the threshold of their class.
        low: (N,) bool, True for scores below it that can still belong to a track.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int32]
    high: NDArray[np.bool_]
    low: NDArray[np.bool_]

    @classmethod
    def none(cls) -> MeasuredBoxes:
        """No detections."""
        nothing = np.zeros(0, np.bool_)
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int32), nothing, nothing)

    @classmethod
    def of(cls, found: Detections, high: NDArray[np.float32], low: float) -> MeasuredBoxes:
        """The detections of a frame.

        Args:
            found: of all scores above `low`.
            high: (C,) float32, threshold of each class; scores above it begin tracks.
            low: scores above it, up to that threshold, continue them.

        Returns:
            As many boxes, in their order.  Those without an area or with coordinates that are not finite are neither
            high nor low.
        """
        boxes = _upright(found.xyxy) if found.rotated is None else _long_side_first(found.rotated)
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
        scores = found.scores.astype(np.float64)
        is_high = found.scores > high[found.class_ids]
        return cls(boxes, scores, found.class_ids, usable & is_high, usable & ~is_high & (scores > low))

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, kept: NDArray[np.bool_]) -> MeasuredBoxes:
        """Those for which `kept`, (N,), is True."""
        if kept.all():
            return self
        return MeasuredBoxes(self.boxes[kept], self.scores[kept], self.class_ids[kept], self.high[kept], self.low[kept])

    def of_one_class(self) -> MeasuredBoxes:
        """The same, all of class 0."""
        return replace(self, class_ids=np.zeros_like(self.class_ids))

    @property
    def rotated(self) -> bool:
        """True for rotated boxes."""
        return self.boxes.shape[1] == 5

    @property
    def xyah(self) -> NDArray[np.float64]:
        """(N, 4) center x, center y, width / height, height."""
        measured = self.boxes[:, :4].copy()
        np.divide(measured[:, 2], measured[:, 3], out=measured[:, 2], where=measured[:, 3] > 0)
        return measured

    @property
    def angles(self) -> NDArray[np.float64]:
        """(N,) radians; 0 for upright boxes."""
        return self.boxes[:, 4] if self.rotated else np.zeros(len(self))


def _upright(xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    corners = xyxy.astype(np.float64)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)


def _long_side_first(rotated: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same boxes, a quarter turn further where the height is the longer side."""
    boxes = rotated.astype(np.float64)
    turned = boxes[:, 2] < boxes[:, 3]
    boxes[turned, 2], boxes[turned, 3] = boxes[turned, 3], boxes[turned, 2]
    boxes[turned, 4] += math.pi / 2
    return boxes
