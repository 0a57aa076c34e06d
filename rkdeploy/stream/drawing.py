"""Draw detections on an image so that they can be read, from 320x240 to 4K.

Class names are drawn with OpenCV's built-in Hershey font, which has ASCII only; wheels of opencv-python carry no
FreeType, and a board has no reason to carry Pillow and a font.  So a name is spelled in ASCII where its letters have
such a form ("Zündkerze" -> "Zundkerze", "Straße" -> "Strasse"), and where it has none ("螺栓") the class id is drawn
instead: "#0".  JSON lines keep the true names.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.postprocess.detections import Detections

Bgr = tuple[int, int, int]

PALETTE_RGB = (
    (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7), (0xF0, 0xE4, 0x42),
    (0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9), (0x88, 0x22, 0x55), (0xBB, 0xCC, 0x33), (0x33, 0x22, 0x88),
    (0xFF, 0xAA, 0xBB), (0x11, 0x77, 0x33), (0x99, 0xDD, 0xFF), (0x66, 0x33, 0x00), (0xAA, 0x44, 0x99),
    (0x44, 0xBB, 0x99), (0x88, 0x88, 0x88), (0xEE, 0x88, 0x66), (0xDD, 0xDD, 0xDD), (0x66, 0x11, 0x00),
)  # fmt: skip
"""Class colours, by class id modulo their number.

The first seven are Okabe and Ito's (https://jfly.uni-koeln.de/color/), the rest from Paul Tol's muted and light schemes
(https://sronpersonalpages.nl/~pault/), ordered so that neighbours differ in lightness too.
"""

_INK: Bgr = (20, 20, 20)
_PAPER: Bgr = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP_HEIGHT_AT_SCALE_1 = 21  # pixels of a capital letter in this font
_SPELLED = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "ł": "l", "Ł": "L", "đ": "d"})


@dataclass(frozen=True, slots=True)
class Pen:
    """Line and text sizes for one image size.

    Attributes:
        line_px: width of a box's line.
        edge_px: width of the contrasting edge on either side of it.
        font_scale: for the Hershey font.
        text_px: line width of the letters.
        pad_px: room around a label's text.
    """

    line_px: int
    edge_px: int
    font_scale: float
    text_px: int
    pad_px: int


def pen_for(width: int, height: int) -> Pen:
    """Sizes that look alike on a screen whatever the image's size is."""
    size = (width * height) ** 0.5
    cap_px = max(7.0, size / 60)
    scale = cap_px / _CAP_HEIGHT_AT_SCALE_1
    return Pen(
        line_px=max(2, round(size / 320)) if size > 160 else 1,
        edge_px=max(1, round(size / 1300)),
        font_scale=scale,
        text_px=max(1, round(scale * 1.9)),
        pad_px=max(2, round(cap_px * 0.35)),
    )


def class_color(class_id: int) -> Bgr:
    """The colour of a class, the same in every image and run."""
    red, green, blue = PALETTE_RGB[class_id % len(PALETTE_RGB)]
    return blue, green, red


def text_color(background: Bgr) -> Bgr:
    """Black or white, whichever has the higher contrast (relative luminance, WCAG 2.2)."""
    linear = [(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (c / 255 for c in background)]
    luminance = 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]
    return _INK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else _PAPER


def ascii_label(name: str, class_id: int) -> str:
    """A class name in ASCII, or `#id` when it has no such form."""
    spelled = unicodedata.normalize("NFKD", name.translate(_SPELLED))
    kept = "".join(letter for letter in spelled if not unicodedata.combining(letter))
    kept = " ".join(kept.split())
    return kept if kept and kept.isascii() and kept.isprintable() else f"#{class_id}"


def draw_detections(image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """Draw boxes and labels on a copy.

    Args:
        image: (H, W, 3) uint8 BGR; not changed.
        detections: in pixels of this image.
        class_names: by class id.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    pen = pen_for(width, height)
    keep = np.isfinite(detections.xyxy).all(axis=1)
    xyxy = detections.xyxy[keep]
    corners = np.rint(np.clip(xyxy, 0, (width - 1, height - 1, width - 1, height - 1))).astype(np.int32)
    ids = [int(i) for i in detections.class_ids[keep]]
    scores = [float(score) for score in detections.scores[keep]]
    # Lines first and labels on top; within both, the most certain object is drawn last, so that it stays whole.
    by_score = np.argsort(scores, kind="stable").tolist()
    for i in by_score:
        x1, y1, x2, y2 = corners[i].tolist()
        color = class_color(ids[i])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), _edge(color), pen.line_px + 2 * pen.edge_px, cv2.LINE_AA)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), color, pen.line_px, cv2.LINE_AA)
    texts = [f"{_name(class_names, class_id)} {score:.2f}" for class_id, score in zip(ids, scores, strict=True)]
    places = _place_labels(corners, texts, by_score[::-1], pen, (height, width))
    for i in by_score:
        if (place := places[i]) is not None:
            _draw_label(drawn, place, class_color(ids[i]), pen)
    return drawn


def _name(class_names: Sequence[str], class_id: int) -> str:
    return ascii_label(class_names[class_id], class_id) if 0 <= class_id < len(class_names) else f"#{class_id}"


def _edge(color: Bgr) -> Bgr:
    """A dark edge for light colours, a tint of the same colour for dark ones: a box shows on any background."""
    if text_color(color) == _INK:
        return _INK
    blue, green, red = ((2 * 255 + 3 * channel) // 5 for channel in color)
    return blue, green, red


@dataclass(frozen=True, slots=True)
class _Label:
    """A label's box in pixels and the text that fits into it."""

    left: int
    top: int
    width: int
    height: int
    text: str


def _place_labels(
    corners: NDArray[np.int32], texts: Sequence[str], order: Sequence[int], pen: Pen, image_hw: tuple[int, int]
) -> list[_Label | None]:
    """Where each label goes: the free place around its box that hides least, the first in `order` choosing first.

    Returns:
        By detection; None where the image is too small for any text.
    """
    image_h, image_w = image_hw
    placed = np.zeros((0, 4), np.int32)
    places: list[_Label | None] = [None] * len(texts)
    for i in order:
        text, text_w, text_h = _fitting(texts[i], pen, image_w)
        label_w, label_h = text_w + 2 * pen.pad_px, text_h + 2 * pen.pad_px
        if not text or label_h > image_h:
            continue
        x1, y1, x2, y2 = corners[i].tolist()
        line = pen.line_px // 2 + 1
        left, right = x1 - line, x2 + line - label_w
        above, below = y1 - line - label_h, y2 + line
        spots = np.array(
            [(left, above), (right, above), (left, below), (right, below), (x2 + line, y1), (x1 - line - label_w, y1),
             (x1, y1), (x1, y2 - label_h)], np.int32
        )  # fmt: skip
        label_wh = np.array((label_w, label_h), np.int32)
        top_left = np.clip(spots, 0, np.array((image_w, image_h), np.int32) - label_wh)
        boxes = np.hstack((top_left, top_left + label_wh)).astype(np.int32)
        others = np.delete(corners, i, axis=0)
        cost = 8.0 * _overlap(boxes, placed) + _overlap(boxes, others) + 0.7 * _overlap(boxes, corners[i : i + 1])
        cost += 0.02 * label_w * label_h * np.arange(len(boxes))  # all else equal, the usual place
        best = int(np.argmin(cost))
        placed = np.vstack((placed, boxes[best : best + 1]))
        places[i] = _Label(int(boxes[best, 0]), int(boxes[best, 1]), label_w, label_h, text)
    return places


def _fitting(text: str, pen: Pen, image_w: int) -> tuple[str, int, int]:
    """The text, shortened until it fits the image's width, with its width and height in pixels."""
    room = image_w - 2 * pen.pad_px
    (text_w, text_h), _ = cv2.getTextSize(text, _FONT, pen.font_scale, pen.text_px)
    name, _, score = text.rpartition(" ")
    while text_w > room and name:
        name = name[: max(0, min(len(name) - 1, int(len(name) * room / text_w)))]
        text = f"{name}.. {score}" if name else score
        (text_w, text_h), _ = cv2.getTextSize(text, _FONT, pen.font_scale, pen.text_px)
    return (text, text_w, text_h) if text_w <= room else ("", 0, 0)


def _overlap(boxes: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.float64]:
    """Pixels of each box that the others cover, summed: (M, 4), (N, 4) -> (M,)."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.clip(bottom_right - top_left, 0, None).prod(axis=2).sum(axis=1), np.float64)


def _draw_label(drawn: NDArray[np.uint8], label: _Label, color: Bgr, pen: Pen) -> None:
    drawn[label.top : label.top + label.height, label.left : label.left + label.width] = color
    foot = (label.left + pen.pad_px, label.top + label.height - pen.pad_px)
    cv2.putText(drawn, label.text, foot, _FONT, pen.font_scale, text_color(color), pen.text_px, cv2.LINE_AA)
