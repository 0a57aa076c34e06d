"""Outlines of boxes, upright and rotated."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr, edge_color
from rkdeploy.device.drawing.pen import Pen

SHIFT = 3
"""Coordinates of slanted lines are given to OpenCV in eighths of a pixel."""


def draw_box(drawn: NDArray[np.uint8], box: NDArray[np.int32], color: Bgr, pen: Pen) -> None:
    """Draw an upright box, in place: (4,) x1, y1, x2, y2 are the middle of its lines."""
    _frame(drawn, box, pen.line_px + 2 * pen.edge_px, edge_color(color))
    _frame(drawn, box, pen.line_px, color)


def draw_thin_box(drawn: NDArray[np.uint8], box: NDArray[np.int32], color: Bgr, pen: Pen) -> None:
    """Draw a thin upright box that accompanies a mask or keypoints, in place."""
    _frame(drawn, box, max(1, pen.line_px // 2), color)


def draw_polygon(drawn: NDArray[np.uint8], corners: NDArray[np.float32], color: Bgr, pen: Pen) -> None:
    """Draw a closed outline, in place: (n, 2) float32 x, y in pixels, may lie outside of the image within the limits of
    `near`.
    """
    points = [fixed_point(corners)]
    wide = pen.line_px + 2 * pen.edge_px
    cv2.polylines(drawn, points, True, edge_color(color), wide, cv2.LINE_AA, SHIFT)
    cv2.polylines(drawn, points, True, color, pen.line_px, cv2.LINE_AA, SHIFT)


def near(xy: NDArray[np.float32], drawn: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Coordinates (..., 2) clipped to a few image sizes, so that they fit into 32 bits."""
    far = 4.0 * max(drawn.shape[:2])
    return np.asarray(np.minimum(np.maximum(xy, -far), far), np.float32)


def fixed_point(xy: NDArray[np.float32]) -> NDArray[np.int32]:
    """Coordinates (..., 2) as the fixed-point numbers that OpenCV takes with `SHIFT`."""
    return np.asarray(np.rint(xy * np.float32(1 << SHIFT)), np.int32)


def _frame(drawn: NDArray[np.uint8], box: NDArray[np.int32], width: int, color: Bgr) -> None:
    """Draw four bars: square corners, and faster than a thick line, which OpenCV draws as polygons with round ends."""
    x1, y1, x2, y2 = box.tolist()
    before, after = width // 2, (width - 1) // 2
    left, top, right, bottom = x1 - before, y1 - before, x2 + after, y2 + after
    bars = (
        (left, top, right, y1 + after),
        (left, y2 - before, right, bottom),
        (left, top, x1 + after, bottom),
        (x2 - before, top, right, bottom),
    )
    for x0, y0, x3, y3 in bars:
        cv2.rectangle(drawn, (x0, y0), (x3, y3), color, cv2.FILLED)
