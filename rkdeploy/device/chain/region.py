"""Part of a frame as an image of its own, and the map between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SIDE_PX: Final = 2048
"""Longest side of a warped crop: more than any recognizer's input, and a bound on the memory of one."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Part of a frame.

    Attributes:
        matrix: (3, 3) float64, homogeneous pixels of the frame to pixels of the crop.
        width, height: of the crop in pixels.
        is_upright: True for an upright part of whole pixels, which needs no resampling.
        border: what lies outside of the frame: `replicate` repeats its edge, `black` is black.
    """

    matrix: NDArray[np.float64]
    width: int
    height: int
    is_upright: bool = False
    border: str = "replicate"

    @classmethod
    def upright(cls, left: int, top: int, width: int, height: int) -> Region:
        """Rectangle of whole pixels inside the frame."""
        return cls(np.array(((1, 0, -left), (0, 1, -top), (0, 0, 1)), np.float64), width, height, is_upright=True)

    @classmethod
    def of_corners(cls, corners: NDArray[np.floating[Any]]) -> Region | None:
        """Quadrilateral, straightened to a rectangle as wide and high as its longer sides.

        Source of the size and the matrix: PaddleOCR, tools/infer/utility.py, `get_rotate_crop_image`.

        Args:
            corners: (4, 2) in pixels of the frame: what becomes top left, top right, bottom right, bottom left.

        Returns:
            None for corners that are not finite, or span less than a pixel.
        """
        points = np.asarray(corners, np.float32)
        if not np.isfinite(points).all():
            return None
        top, right, bottom, left = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).tolist()
        width, height = max(top, bottom), max(left, right)
        if width < 1 or height < 1 or abs(_area(points)) < 1:
            return None
        shrink = min(1.0, MAX_SIDE_PX / max(width, height))
        width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
        target = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32)
        return cls(np.asarray(cv2.getPerspectiveTransform(points, target), np.float64), width, height)

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop, (height, width, 3) uint8 BGR; a view of the frame if it is an upright part."""
        if self.is_upright:
            left, top = round(-self.matrix[0, 2]), round(-self.matrix[1, 2])
            return frame[top : top + self.height, left : left + self.width]
        size = (self.width, self.height)
        if self.border == "black":
            # Not by pixel centers: insightface's `norm_crop` does it like this, and its networks were trained so.
            warped = cv2.warpAffine(frame, self.matrix[:2], size, flags=cv2.INTER_LINEAR)
        else:
            warped = cv2.warpPerspective(
                frame, of_pixel_centers(self.matrix), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        return np.asarray(warped, np.uint8)

    def to_frame(self, xy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Points (..., 2) in pixels of the crop to a new (..., 2) float32 in pixels of the frame, not clipped."""
        back = np.linalg.inv(self.matrix)
        flat = np.asarray(xy, np.float64).reshape(-1, 2)
        mapped = flat @ back[:, :2].T + back[:, 2]
        return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float32).reshape(xy.shape)


def of_pixel_centers(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map (3, 3) for OpenCV, whose whole numbers are pixels' centers; here they are pixels' edges."""
    half = np.array(((1, 0, 0.5), (0, 1, 0.5), (0, 0, 1)), np.float64)
    return np.asarray(np.linalg.inv(half) @ matrix @ half, np.float64)


def _area(corners: NDArray[np.float32]) -> float:
    """Signed area of a polygon (N, 2); positive if it goes clockwise on the screen."""
    x, y = np.asarray(corners, np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def in_reading_order(corners: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The corners (4, 2) of a rectangle, top left first and clockwise, turned so that a line of text lies.

    Left are the two with the smaller x.  A rectangle at least 1.5 times as high as wide is turned counterclockwise, so
    that its top right corner comes first.  Source: PaddleOCR, `get_mini_boxes` and `get_rotate_crop_image`.
    """
    by_x = np.asarray(corners, np.float32)[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    ordered = np.array((left[0], right[0], right[1], left[1]), np.float32)
    top, side, *_ = np.linalg.norm(np.roll(ordered, -1, axis=0) - ordered, axis=1).tolist()
    return np.roll(ordered, -1, axis=0) if side >= 1.5 * top else ordered


def clockwise(corners: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Corners (4, 2) from the same first one, clockwise on the screen: counterclockwise they would mirror the crop."""
    points = np.asarray(corners, np.float32)
    return points[[0, 3, 2, 1]] if _area(points) < 0 else points


def widened(corners: NDArray[np.floating[Any]], margin: float) -> NDArray[np.float32]:
    """Corners (4, 2) moved away from their middle, so that each side gains `margin` of the extent."""
    points = np.asarray(corners, np.float32)
    middle = points.mean(axis=0)
    return np.asarray(middle + (points - middle) * np.float32(1 + 2 * margin), np.float32)
