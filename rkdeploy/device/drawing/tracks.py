"""Trails of tracks, lines and zones with their counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr, bgr, class_color, edge_color
from rkdeploy.device.drawing.fills import paste
from rkdeploy.device.drawing.outlines import SHIFT, fixed_point, near
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.text import ascii_label, plate, text_height, text_width
from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, Point, ZoneCount

_LINE: Final[Bgr] = bgr((0xFF, 0xC2, 0x0A))
_ZONE: Final[Bgr] = bgr((0x40, 0xB0, 0xA6))
_ARROW_CAPS: Final = 2.0
"""Length of the arrow of a line, in heights of a capital letter."""


def draw_trails(
    drawn: NDArray[np.uint8], tracks: FoundTracks, shown: Sequence[int], class_ids: Sequence[int], pen: Pen
) -> None:
    """Draw the trail of each object, in place.

    Args:
        drawn: (H, W, 3) uint8.
        tracks: of the frame's objects.
        shown: indices of the objects that are drawn.
        class_ids: of these.
        pen: sizes.
    """
    for index, class_id in zip(shown, class_ids, strict=True):
        points = tracks.trails[index]
        if len(points) > 1:
            _stroke(drawn, points, class_color(class_id), pen, closed=False)


def draw_areas(drawn: NDArray[np.uint8], tracks: FoundTracks, pen: Pen) -> NDArray[np.int32]:
    """Draw lines and zones with their counts, in place.

    Returns:
        (N, 4) int32 x1, y1, x2, y2 of their labels, which must stay free.
    """
    taken: list[tuple[int, int, int, int]] = []
    for zone in tracks.zones:
        _stroke(drawn, zone.points, _ZONE, pen, closed=True)
        at = min(zone.points, key=lambda point: (point[1], point[0]))
        taken += _label(drawn, _zone_words(zone), at, _ZONE, pen)
    for line in tracks.lines:
        _stroke(drawn, line.points, _LINE, pen, closed=False)
        _draw_arrow(drawn, line, pen)
        taken += _label(drawn, _line_words(line), max(line.points, key=lambda point: point[1]), _LINE, pen)
    return np.array(taken, np.int32).reshape(-1, 4)


def _line_words(line: LineCount) -> str:
    name = ascii_label(line.name, 0)
    return f"{name} in {sum(line.entered.values())} out {sum(line.left.values())}"


def _zone_words(zone: ZoneCount) -> str:
    return f"{ascii_label(zone.name, 0)} {sum(zone.inside.values())}"


def _stroke(drawn: NDArray[np.uint8], points: Sequence[Point], color: Bgr, pen: Pen, *, closed: bool) -> None:
    strokes = [fixed_point(near(np.array(points, np.float32), drawn))]
    cv2.polylines(drawn, strokes, closed, edge_color(color), pen.line_px + 2 * pen.edge_px, cv2.LINE_AA, SHIFT)
    cv2.polylines(drawn, strokes, closed, color, pen.line_px, cv2.LINE_AA, SHIFT)


def _draw_arrow(drawn: NDArray[np.uint8], line: LineCount, pen: Pen) -> None:
    """Draw an arrow from the middle of a line in the direction of `in`."""
    (x1, y1), (x2, y2) = line.points
    length = math.hypot(x2 - x1, y2 - y1)
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    reach = _ARROW_CAPS * pen.cap_px / length if length else 0.0
    tip = middle[0] - (y2 - y1) * reach, middle[1] + (x2 - x1) * reach
    side = ((x2 - x1) * reach / 3, (y2 - y1) * reach / 3)
    back = middle[0] + (tip[0] - middle[0]) * 0.6, middle[1] + (tip[1] - middle[1]) * 0.6
    _stroke(drawn, (middle, tip), _LINE, pen, closed=False)
    head = ((back[0] - side[0], back[1] - side[1]), tip, (back[0] + side[0], back[1] + side[1]))
    _stroke(drawn, head, _LINE, pen, closed=False)


def _label(drawn: NDArray[np.uint8], words: str, at: Point, color: Bgr, pen: Pen) -> list[tuple[int, int, int, int]]:
    """Draw a label above a point, moved into the picture; none where it has no room."""
    height, width = drawn.shape[:2]
    label_w, label_h = text_width(words, pen) + 2 * pen.pad_px, text_height(pen) + 2 * pen.pad_px
    if label_w > width or label_h > height:
        return []
    left = min(max(round(at[0]) - label_w // 2, 0), width - label_w)
    top = min(max(round(at[1]) - label_h - pen.line_px - pen.edge_px, 0), height - label_h)
    paste(drawn, plate(words, label_w, label_h, color, pen), None, left, top)
    return [(left, top, left + label_w, top + label_h)]
