"""Panels in the top left corner: a classifier's ranking, and the legend of class maps; the line of a text below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.class_maps import MapClass
from rkdeploy.device.drawing.colors import INK, PAPER, Bgr, bgr
from rkdeploy.device.drawing.fills import shade
from rkdeploy.device.drawing.pen import Pen, pen_for
from rkdeploy.device.drawing.text import class_label, fit_text, put_text, text_height, text_width
from rkdeploy.device.postprocess.detections import FoundMatch, FoundText, Ranking

RANKED = 5
"""Classes of a ranking that are shown."""

LEGEND_ROWS = 10
"""Classes of a legend that are shown."""

_GROUND = 0.72
_LINES = 7
"""Capital letters of the line of a text, one above the other, in an image's height."""
_BAR: Bgr = bgr((0x56, 0xB4, 0xE9))
_TRACK: Bgr = (90, 90, 90)
_QUIET: Bgr = (205, 205, 205)


def draw_ranking(
    drawn: NDArray[np.uint8], ranking: Ranking, class_names: Sequence[str], pen: Pen, top: int = 0
) -> NDArray[np.int32]:
    """Draw the best classes with their probabilities as bars, in place.

    Returns:
        (1, 4) int32 x1, y1, x2, y2 of the panel; (0, 4) if the image is too small for one.
    """
    height, width = drawn.shape[:2]
    margin, pad, letters = pen.pad_px, 2 * pen.pad_px, text_height(pen)
    bar, gap = max(2, pen.line_px), letters // 2  # descenders need a third
    step = letters + gap + bar + letters
    ids, scores = ranking.class_ids[:RANKED].tolist(), ranking.scores[:RANKED].tolist()
    room = min(width - 2 * (margin + pad), max(width // 2, 20 * letters))
    rows = min(len(ids), (height - top - 2 * margin - 2 * pad + letters) // step)
    figures = [f"{score * 100:.1f}%" for score in scores[:rows]]
    names = [class_label(class_names, class_id) for class_id in ids[:rows]]
    figure_w = max((text_width(figure, pen) for figure in figures), default=0)
    space = text_width("0", pen)
    names = [fit_text(name, "", room - figure_w - space, pen) for name in names]
    inner_w = max((text_width(name, pen) for name in names), default=0) + space + figure_w
    inner_w = min(max(inner_w, 10 * letters), room)
    if rows < 1 or inner_w < figure_w:
        return np.zeros((0, 4), np.int32)
    left, first = margin + pad, top + margin + pad
    panel = (margin, top + margin, left + inner_w + pad, first + rows * step - letters + pad)
    shade(drawn[panel[1] : panel[3], panel[0] : panel[2]], INK, _GROUND)
    for i in range(rows):
        foot = first + i * step + letters
        color = PAPER if i == 0 else _QUIET
        put_text(drawn, names[i], (left, foot), color, pen)
        put_text(drawn, figures[i], (left + inner_w - text_width(figures[i], pen), foot), color, pen)
        share = min(max(scores[i], 0.0), 1.0) if np.isfinite(scores[i]) else 0.0
        box = (left, foot + gap, left + inner_w - 1, foot + gap + bar - 1)
        cv2.rectangle(drawn, box[:2], box[2:], _TRACK, cv2.FILLED)
        if (filled := round(share * inner_w)) > 0:
            cv2.rectangle(drawn, box[:2], (left + filled - 1, box[3]), _BAR, cv2.FILLED)
    return np.array([panel], np.int32)


def draw_read_text(drawn: NDArray[np.uint8], found: FoundText, attribute: str, pen: Pen) -> NDArray[np.int32]:
    """Draw the text that was read with its confidence and attribute along the lower edge, in place.

    Returns:
        (1, 4) int32 x1, y1, x2, y2 of the line; (0, 4) if the image is too small for one.
    """
    read = found.text or "(no text)"
    whole = " ".join(part for part in (read, f"{found.confidence:.2f}", attribute) if part)
    # In a small picture the text is worth more than the rest.
    return _draw_line(drawn, (whole, f"{read} {found.confidence:.2f}", read), pen)


def draw_match(drawn: NDArray[np.uint8], found: FoundMatch, pen: Pen) -> NDArray[np.int32]:
    """Draw the name that a gallery gives with its cosine along the lower edge, in place.

    Returns:
        (1, 4) int32 x1, y1, x2, y2 of the line; (0, 4) if the image is too small for one.
    """
    name = found.name or "unknown"
    whole = f"{name} {found.cosine:.2f}" if found.name else f"{name} ({found.nearest[0].name} {found.cosine:.2f})"
    return _draw_line(drawn, (whole, name), pen)


def _draw_line(drawn: NDArray[np.uint8], wanted: Sequence[str], pen: Pen) -> NDArray[np.int32]:
    """Draw the first of some texts that fits along the lower edge, or the last one shortened."""
    height, width = drawn.shape[:2]
    whole, read = wanted[0], wanted[-1]
    pen = _line_pen(whole, (height, width), pen)
    room = width - 2 * pen.pad_px
    text = next((line for line in wanted if text_width(line, pen) <= room), fit_text(read, "", room, pen))
    line = text_height(pen) + 2 * pen.pad_px
    if not text or line > height:
        return np.zeros((0, 4), np.int32)
    box = (0, height - line, min(width, text_width(text, pen) + 2 * pen.pad_px), height)
    shade(drawn[box[1] : box[3], box[0] : box[2]], INK, _GROUND)
    put_text(drawn, text, (pen.pad_px, height - pen.pad_px), PAPER, pen)
    return np.array([box], np.int32)


def _line_pen(text: str, image_hw: tuple[int, int], pen: Pen) -> Pen:
    """A pen of up to a seventh of the image's height, with which the text fits; no smaller than `pen`."""
    side = 60 * image_hw[0] / _LINES  # pen_for takes a sixtieth
    while 60 * pen.cap_px < side:
        larger = pen_for(round(side), round(side))
        if text_width(text, larger) + 2 * larger.pad_px <= image_hw[1]:
            return larger
        side *= 0.9
    return pen


def draw_legend(drawn: NDArray[np.uint8], classes: Sequence[MapClass], pen: Pen, top: int = 0) -> NDArray[np.int32]:
    """Draw the legend of the class maps, in place.

    Returns:
        (1, 4) int32 x1, y1, x2, y2 of the panel; (0, 4) if the image is too small for one, or there are no classes.
    """
    height, width = drawn.shape[:2]
    margin, pad, letters = pen.pad_px, pen.pad_px + pen.pad_px // 2, text_height(pen)
    swatch = letters + pen.pad_px // 2
    step = letters + max(4, 2 * pen.pad_px)
    room = width - 2 * (margin + pad) - swatch - pad
    rows = min(len(classes), LEGEND_ROWS, (height - top - 2 * margin - 2 * pad - letters) // step + 1)
    names = [fit_text(one.name, "", room, pen) for one in classes[: max(rows, 0)]]
    if not any(names):
        return np.zeros((0, 4), np.int32)
    left, first = margin + pad, top + margin + pad
    right = left + swatch + pad + max(text_width(name, pen) for name in names) + pad
    panel = (margin, top + margin, right, first + (rows - 1) * step + letters + pad)
    shade(drawn[panel[1] : panel[3], panel[0] : panel[2]], INK, _GROUND)
    for i, name in enumerate(names):
        foot = first + i * step + letters
        over = (swatch - letters) // 2
        cv2.rectangle(drawn, (left, foot - letters - over), (left + swatch, foot + over), classes[i].color, cv2.FILLED)
        put_text(drawn, name, (left + swatch + pad, foot), PAPER, pen)
    return np.array([panel], np.int32)
