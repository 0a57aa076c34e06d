"""Class maps: every pixel tinted with the color of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr, bgr, class_color
from rkdeploy.device.drawing.fills import eroded, paint, tint
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.text import ascii_label
from rkdeploy.device.postprocess.class_pixels import count_class_pixels
from rkdeploy.device.postprocess.detections import FoundClassMap

_AREA_OPACITY = 0.4
_LINE_OPACITY = 0.8
_DRIVABLE = bgr((0x00, 0x9E, 0x73))
_LANE = bgr((0xF0, 0xE4, 0x42))


@dataclass(frozen=True, slots=True)
class MapClass:
    """Style of one class of a map.

    Attributes:
        class_id: id in the map.
        name: in ASCII.
        color: BGR of the tint.
        opacity: of the tint, 0..1: areas let the image through; lines have few pixels and must stay visible.
    """

    class_id: int
    name: str
    color: Bgr
    opacity: float


def map_classes(maps: Sequence[FoundClassMap]) -> list[tuple[MapClass, ...]]:
    """The classes of each map without its background, each with its own color.

    Drivable areas are green and lane lines have strong colors; other classes take the palette's colors, in order over
    all
    maps.
    """
    styles: list[tuple[MapClass, ...]] = []
    others = 0
    for found in maps:
        of_map: list[MapClass] = []
        for class_id in found.shown_ids:
            name = found.class_names[class_id]
            words = name.casefold()
            line = "lane" in words
            if "driv" in words:
                color = _DRIVABLE
            elif line and len(found.class_names) == 2:
                color = _LANE
            else:
                others += 1
                color = class_color(others)
            opacity = _LINE_OPACITY if line else _AREA_OPACITY
            of_map.append(MapClass(class_id, ascii_label(name, class_id), color, opacity))
        styles.append(tuple(of_map))
    return styles


def legend_classes(maps: Sequence[FoundClassMap], styles: Sequence[Sequence[MapClass]], most: int) -> list[MapClass]:
    """The classes that a legend explains.

    All of them, so that the legend stays the same from frame to frame; if there are more than `most`, the largest of
    this
    image, in the order of their maps and ids.
    """
    classes = [one for of_map in styles for one in of_map]
    if len(classes) <= most:
        return classes
    pixels: list[int] = []
    for found, of_map in zip(maps, styles, strict=True):
        counts = count_class_pixels(found.class_ids, len(found.class_names))
        pixels += [int(counts[one.class_id]) for one in of_map]
    largest = sorted(range(len(classes)), key=lambda i: -pixels[i])[:most]
    return [classes[i] for i in sorted(largest) if pixels[i]]


def draw_class_map(
    drawn: NDArray[np.uint8], class_ids: NDArray[np.uint8], classes: Sequence[MapClass], pen: Pen
) -> None:
    """Tint the pixels of each class, in place; an area that is alone in its map gets a rim.

    Args:
        drawn: (H, W, 3) uint8.
        class_ids: (H, W) uint8.
        classes: classes to draw.
        pen: sizes.
    """
    for opacity in sorted({one.opacity for one in classes}):  # lines over areas
        alike = [one for one in classes if one.opacity == opacity]
        covered = _pixels_of(class_ids, alike)
        left, top, width, height = cv2.boundingRect(covered)
        if width == 0:
            continue
        rim_px = max(1, pen.line_px // 2)  # and the same margin around the part
        part = np.s_[max(top - rim_px, 0) : top + height + rim_px, max(left - rim_px, 0) : left + width + rim_px]
        if len(alike) == 1:
            tint(drawn[part], covered[part], alike[0].color, opacity)
            if opacity == _AREA_OPACITY:
                rim = covered[part] - eroded(covered[part], rim_px, beyond=255)  # none along the image's border
                paint(drawn[part], rim, alike[0].color)
            continue
        palette = np.zeros((256, 1, 3), np.uint8)
        for one in alike:
            palette[one.class_id, 0] = one.color
        colors = cv2.applyColorMap(class_ids[part], palette)
        mixed = cv2.addWeighted(drawn[part], 1.0 - opacity, colors, opacity, 0.0, dst=colors)
        cv2.copyTo(mixed, covered[part], drawn[part])


def _pixels_of(class_ids: NDArray[np.uint8], classes: Sequence[MapClass]) -> NDArray[np.uint8]:
    """(H, W) uint8, nonzero on the pixels of the given classes."""
    ids = [one.class_id for one in classes]
    low, high = min(ids), max(ids)
    if high - low + 1 == len(ids):
        return np.asarray(cv2.inRange(class_ids, np.array([low]), np.array([high])), np.uint8)
    table = np.zeros(256, np.uint8)
    table[ids] = 255
    return np.asarray(cv2.LUT(class_ids, table), np.uint8)
