"""Text on images.

Class names are drawn with OpenCV's built-in Hershey font, which has ASCII only; wheels of opencv-python carry no
FreeType, and Pillow and a font would be needed on boards for this alone.  So a name is transliterated to ASCII if its
letters allow it ("Zündkerze" -> "Zundkerze", "Straße" -> "Strasse"), and otherwise ("螺栓") replaced by the class id:
"#0".  JSON lines keep the original names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import INK, PAPER, Bgr, text_color
from rkdeploy.device.drawing.pen import Pen

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SPELLED = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d"})
_KEPT = 256


def ascii_label(name: str, class_id: int) -> str:
    """A class name in ASCII, or `#id` when it has no such form."""
    spelled = unicodedata.normalize("NFKD", name.translate(_SPELLED))
    kept = "".join(letter for letter in spelled if not unicodedata.combining(letter))
    kept = " ".join(kept.split())
    return kept if kept and kept.isascii() and kept.isprintable() else f"#{class_id}"


def class_label(class_names: Sequence[str], class_id: int) -> str:
    """The label of a class: its name in ASCII, or `#id`."""
    return ascii_label(class_names[class_id], class_id) if 0 <= class_id < len(class_names) else f"#{class_id}"


def text_width(text: str, pen: Pen) -> int:
    """Width in pixels from the first letter to the last."""
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
    cv2.putText(drawn, text, foot_xy, _FONT, pen.font_scale, color, pen.text_px, cv2.LINE_AA)


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
