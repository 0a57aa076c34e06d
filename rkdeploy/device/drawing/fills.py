"""Fill parts of an image.  Only the pixels around what is filled are touched, in 8 bits: boards are slow at floats."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr

_STEPS = (cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3)))


def eroded(covered: NDArray[np.uint8], distance_px: int, *, beyond: int = 0) -> NDArray[np.uint8]:
    """What lies further inside than that: an octagon, of crosses and squares by turns, is faster than a disc.

    Args:
        covered: (h, w) uint8, not 0 inside.
        distance_px: from the outline.
        beyond: what lies beyond the borders of the array; 0 is outside, 255 inside.
    """
    for step in range(distance_px):
        smaller = cv2.erode(covered, _STEPS[step % 2], borderType=cv2.BORDER_CONSTANT, borderValue=(beyond,))
        covered = np.asarray(smaller, np.uint8)
    return covered


def tint(region: NDArray[np.uint8], covered: NDArray[np.uint8], color: Bgr, opacity: float) -> None:
    """Mix a color into some pixels of an image, in place.

    Args:
        region: (h, w, 3) uint8, also a part of a larger image.
        covered: (h, w) uint8, not 0 where the color goes.
        color: to mix in.
        opacity: its share, 0..1.
    """
    if region.size:
        cv2.copyTo(_mixed(region, color, opacity), covered, region)


def paint(region: NDArray[np.uint8], covered: NDArray[np.uint8], color: Bgr) -> None:
    """Give some pixels of an image a color, in place; region and covered as for `tint`."""
    if region.size:
        solid = np.empty_like(region)
        cv2.rectangle(solid, (0, 0), (solid.shape[1], solid.shape[0]), color, cv2.FILLED)  # numpy takes longer
        cv2.copyTo(solid, covered, region)


def shade(region: NDArray[np.uint8], color: Bgr, opacity: float) -> None:
    """Mix a color into a whole region, in place: the ground of a panel."""
    if region.size:
        region[:] = _mixed(region, color, opacity)


def _mixed(region: NDArray[np.uint8], color: Bgr, opacity: float) -> NDArray[np.uint8]:
    mixed = cv2.convertScaleAbs(region, alpha=1.0 - opacity)
    added = np.rint(np.array((*color, 0), np.float64) * opacity)  # OpenCV stays in 8 bits for whole numbers only
    return np.asarray(cv2.add(mixed, added, dst=mixed), np.uint8)


def paste(
    drawn: NDArray[np.uint8], picture: NDArray[np.uint8], cover: NDArray[np.uint8] | None, left: int, top: int
) -> None:
    """Put a picture on an image, in place; what lies outside of the image is cut off.

    Args:
        drawn: (H, W, 3) uint8.
        picture: (h, w, 3) uint8.
        cover: (h, w) uint8, not 0 where the picture covers; None for everywhere.
        left: column of the picture's first column, also below 0.
        top: row likewise.
    """
    height, width = drawn.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + picture.shape[1], width), min(top + picture.shape[0], height)
    if x1 <= x0 or y1 <= y0:
        return
    part = picture[y0 - top : y1 - top, x0 - left : x1 - left]
    if cover is None:
        drawn[y0:y1, x0:x1] = part
    else:
        cv2.copyTo(part, cover[y0 - top : y1 - top, x0 - left : x1 - left], drawn[y0:y1, x0:x1])
