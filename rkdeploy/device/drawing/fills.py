"""Fills of image regions.  Only the pixels around a region are touched, in 8 bits: boards are slow at float
arithmetic.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr

_STEPS = (cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3)))


def eroded(covered: NDArray[np.uint8], distance_px: int, *, beyond: int = 0) -> NDArray[np.uint8]:
    """Shrink a region by a distance: an octagonal structuring element, crosses and squares in turn, is faster than a
    disc.

    Args:
        covered: (h, w) uint8, nonzero inside.
        distance_px: distance from the outline, in pixels.
        beyond: value assumed outside of the array: 0 for outside the region, 255 for inside.
    """
    for step in range(distance_px):
        smaller = cv2.erode(covered, _STEPS[step % 2], borderType=cv2.BORDER_CONSTANT, borderValue=(beyond,))
        covered = np.asarray(smaller, np.uint8)
    return covered


def tint(region: NDArray[np.uint8], covered: NDArray[np.uint8], color: Bgr, opacity: float) -> None:
    """Blend a color into some pixels of an image, in place.

    Args:
        region: (h, w, 3) uint8, may be a view of a larger image.
        covered: (h, w) uint8, nonzero where the color goes.
        color: BGR.
        opacity: weight of the color, 0..1.
    """
    if region.size:
        cv2.copyTo(_mixed(region, color, opacity), covered, region)


def paint(region: NDArray[np.uint8], covered: NDArray[np.uint8], color: Bgr) -> None:
    """Set some pixels of an image to a color, in place; region and covered as for `tint`."""
    if region.size:
        solid = np.empty_like(region)
        cv2.rectangle(solid, (0, 0), (solid.shape[1], solid.shape[0]), color, cv2.FILLED)  # faster than numpy
        cv2.copyTo(solid, covered, region)


def shade(region: NDArray[np.uint8], color: Bgr, opacity: float) -> None:
    """Blend a color into a whole region, in place: the background of a panel."""
    if region.size:
        region[:] = _mixed(region, color, opacity)


def _mixed(region: NDArray[np.uint8], color: Bgr, opacity: float) -> NDArray[np.uint8]:
    mixed = cv2.convertScaleAbs(region, alpha=1.0 - opacity)
    added = np.rint(np.array((*color, 0), np.float64) * opacity)  # OpenCV stays in 8 bits for whole numbers only
    return np.asarray(cv2.add(mixed, added, dst=mixed), np.uint8)


def paste(
    drawn: NDArray[np.uint8], picture: NDArray[np.uint8], cover: NDArray[np.uint8] | None, left: int, top: int
) -> None:
    """Paste a picture on an image, in place; parts outside of the image are cut off.

    Args:
        drawn: (H, W, 3) uint8.
        picture: (h, w, 3) uint8.
        cover: (h, w) uint8, nonzero where the picture is opaque; None for everywhere.
        left: column of the picture's first column, may be negative.
        top: row of the picture's first row, may be negative.
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
