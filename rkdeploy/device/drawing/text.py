"""Text on images.

Text is drawn with OpenCV's built-in Hershey font, which has ASCII only; wheels of opencv-python carry no FreeType, and
Pillow and a font would be needed on boards for this alone.  So a class name is transliterated to ASCII if its letters
allow it ("Zündkerze" -> "Zundkerze", "Straße" -> "Strasse"), and otherwise ("螺栓") replaced by the class id: "#0".  In
text that was read, which has no id, `glyphs.py` spells characters or draws them as boxes.  JSON lines keep all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import INK, PAPER, Bgr, text_color
from rkdeploy.device.drawing.glyphs import ascii_form, code_lines, drawn_parts, is_box
from rkdeploy.device.drawing.pen import Pen

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMALLEST_DIGIT_PX = 5
"""Height of a box's digits below which they are not readable, and are left out."""
_KEPT = 256


def ascii_label(name: str, class_id: int) -> str:
    """A class name in ASCII, or `#id` when it has no such form."""
    return ascii_form(name) or f"#{class_id}"


def class_label(class_names: Sequence[str], class_id: int) -> str:
    """The label of a class: its name in ASCII, or `#id`."""
    return ascii_label(class_names[class_id], class_id) if 0 <= class_id < len(class_names) else f"#{class_id}"


def text_width(text: str, pen: Pen) -> int:
    """Width in pixels from the first letter to the last."""
    if not text.isascii():
        return sum(_part_width(part, pen) for part in drawn_parts(text))
    (width, _), _ = cv2.getTextSize(text, _FONT, pen.font_scale, pen.text_px)
    return int(width)


def text_height(pen: Pen) -> int:
    """Height in pixels of a line above its baseline; commas and descenders reach below."""
    (_, height), _ = cv2.getTextSize("X", _FONT, pen.font_scale, pen.text_px)
    return int(height)


def fit_text(name: str, rest: str, room_px: int, pen: Pen) -> str:
    """`name` and `rest`, the name shortened until both fit; `rest` alone, or nothing, if there is no room."""
    text = f"{name} {rest}".strip()
    width = text_width(text, pen)
    while width > room_px and name:
        name = name[: max(0, min(len(name) - 1, int(len(name) * room_px / width)))].rstrip()
        text = f"{name}.. {rest}".strip() if name else rest
        width = text_width(text, pen)
    return text if width <= room_px else ""


def put_text(drawn: NDArray[np.uint8], text: str, foot_xy: tuple[int, int], color: Bgr, pen: Pen) -> None:
    """Write on an image; `foot_xy` is the lower left corner of the first letter."""
    if not text.isascii():
        left = foot_xy[0]
        for part in drawn_parts(text):
            if is_box(part):
                _put_box(drawn, part, (left, foot_xy[1]), color, pen)
            else:
                put_text(drawn, part, (left, foot_xy[1]), color, pen)
            left += _part_width(part, pen)
        return
    cv2.putText(drawn, text, foot_xy, _FONT, pen.font_scale, color, pen.text_px, cv2.LINE_AA)


def _part_width(part: str, pen: Pen) -> int:
    """Width of a part and of the space behind it, in pixels."""
    return (_box_wh(pen)[0] if is_box(part) else text_width(part, pen)) + max(1, pen.cap_px // 4)


def _box_wh(pen: Pen) -> tuple[int, int]:
    """Width and height of a character's box in pixels: that of a Chinese character next to capital letters."""
    height = text_height(pen) + max(1, pen.cap_px // 5)
    return round(height * 0.95), height


def _put_box(drawn: NDArray[np.uint8], letter: str, foot_xy: tuple[int, int], color: Bgr, pen: Pen) -> None:
    """Draw the box of a character, and its code point where the digits are readable."""
    width, height = _box_wh(pen)
    left, top = foot_xy[0], foot_xy[1] - text_height(pen)
    cv2.rectangle(drawn, (left, top), (left + width - 1, top + height - 1), color, 1)
    lines, digit_px = code_lines(letter), (height - 5) // 2
    if digit_px < _SMALLEST_DIGIT_PX:
        return
    (_, tall), _ = cv2.getTextSize("0", _FONT, 1.0, 1)
    for number, line in enumerate(lines):
        (wide, _), _ = cv2.getTextSize(line, _FONT, 1.0, 1)
        scale = min(digit_px / tall, (width - 4) / wide)
        x = left + round((width - wide * scale) / 2)
        cv2.putText(drawn, line, (x, top + 2 + (number + 1) * digit_px + number), _FONT, scale, color, 1, cv2.LINE_AA)


@lru_cache(maxsize=_KEPT)
def plate(text: str, width: int, height: int, color: Bgr, pen: Pen) -> NDArray[np.uint8]:
    """A label as a picture, (height, width, 3) BGR.  Cached: from frame to frame most labels are the same."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = color
    put_text(picture, text, (pen.pad_px, height - pen.pad_px), text_color(color), pen)
    picture.flags.writeable = False
    return picture


@lru_cache(maxsize=_KEPT)
def stamp(text: str, pen: Pen) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Light letters with a dark rim for any background: (h, w, 3) BGR, and its cover (h, w), nonzero where it is
    opaque.
    """
    rim = pen.text_px + 2 * pen.edge_px
    height, width = text_height(pen) + 2 * rim, text_width(text, pen) + 2 * rim
    foot = (rim, height - rim)
    cover = np.zeros((height, width), np.uint8)
    cv2.putText(cover, text, foot, _FONT, pen.font_scale, (255,), rim)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = INK
    put_text(picture, text, foot, PAPER, pen)
    picture.flags.writeable = cover.flags.writeable = False
    return picture, cover
