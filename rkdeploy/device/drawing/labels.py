"""Labels of objects, placed so that they hide as little as possible and do not overlap while there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr
from rkdeploy.device.drawing.fills import paste
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.drawing.text import fit_text, plate, text_height, text_width

_MOST = 100
"""Largest number of labels in a picture: more are not readable, and each is placed by comparing it with all others."""

_STACKED = 5
_PILES = ((0, -1), (1, -1), (2, 1), (3, 1), (6, 1), (1, 1))
"""When all places are taken, labels are stacked from these: place, and direction (-1 up, 1 down)."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label's box in pixels and the text that fits into it."""

    left: int
    top: int
    width: int
    height: int
    text: str

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in pixels."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class LabelText:
    """Text of a label.  The name is shortened if space is short, the score is not."""

    name: str
    score: str


def place_labels(
    boxes: NDArray[np.int32],
    texts: Sequence[LabelText],
    order: Sequence[int],
    pen: Pen,
    image_hw: tuple[int, int],
    *,
    corners: NDArray[np.float32] | None = None,
    taken: NDArray[np.int32] | None = None,
) -> list[Label | None]:
    """Position of each label: the free place around its object that hides least.

    Objects choose in the given order.  A label without a free place is omitted: the color of its object is worth more
    than
    two unreadable labels.

    Args:
        boxes: (N, 4) int32 x1, y1, x2, y2 in pixels: around each object, inside the image.
        texts: one per object.
        order: object indices; the first chooses first.
        pen: sizes.
        image_hw: height and width.
        corners: (N, 4, 2) of rotated boxes, whose labels go to their outermost corners; None for upright ones.
        taken: (M, 4) int32 boxes that must stay free, such as a panel.

    Returns:
        One entry per object; None if there is no room.
    """
    image_h, image_w = image_hw
    used = 0 if taken is None else len(taken)
    placed = np.zeros((used + min(len(texts), _MOST), 4), np.int32)
    if taken is not None:
        placed[:used] = taken
    places: list[Label | None] = [None] * len(texts)
    label_h = text_height(pen) + 2 * pen.pad_px
    line = pen.line_px // 2 + pen.edge_px + 1
    for i in order:
        text = fit_text(texts[i].name, texts[i].score, image_w - 2 * pen.pad_px, pen)
        if not text or label_h > image_h or used == len(placed):
            continue
        label_w = text_width(text, pen) + 2 * pen.pad_px
        if corners is None:
            spots = _around_box(boxes[i], label_w, label_h, line)
        else:
            spots = _around_corners(corners[i], boxes[i], label_w, label_h, line)
        wh = np.array((label_w, label_h), np.int32)
        best = _free_place(spots, wh, image_hw, placed[:used], boxes, i)
        if best is None:
            rows = np.arange(1, _STACKED + 1, dtype=np.int32)[:, None] * (0, label_h + 1)
            piles = np.concatenate([spots[k] + rows * sign for k, sign in _PILES])
            best = _free_place(piles, wh, image_hw, placed[:used], boxes, i)
        if best is None:
            continue
        placed[used] = best
        used += 1
        places[i] = Label(int(best[0]), int(best[1]), label_w, label_h, text)
    return places


def draw_label(drawn: NDArray[np.uint8], label: Label, color: Bgr, pen: Pen) -> None:
    """Draw one label, in place."""
    paste(drawn, plate(label.text, label.width, label.height, color, pen), None, label.left, label.top)


def _free_place(
    spots: NDArray[np.int32],
    label_wh: NDArray[np.int32],
    image_hw: tuple[int, int],
    placed: NDArray[np.int32],
    boxes: NDArray[np.int32],
    own: int,
) -> NDArray[np.int32] | None:
    """The label box (4,) that hides least of the objects and nothing placed before; None if there is none.

    Args:
        spots: (n, 2) top left corners, in order of preference; they are moved into the image.
        label_wh: width and height.
        image_hw: height and width.
        placed: (M, 4) boxes that must not be hidden.
        boxes: (N, 4) objects.
        own: index of the label's own box.
    """
    tried = np.empty((len(spots), 4), np.int32)
    tried[:, :2] = np.maximum(np.minimum(spots, (image_hw[1] - label_wh[0], image_hw[0] - label_wh[1])), 0)
    tried[:, 2:] = tried[:, :2] + label_wh
    free = np.flatnonzero(overlap(tried, placed) == 0)
    if not len(free):
        return None
    tried = tried[free]
    cost = overlap(tried, boxes) - 0.3 * overlap(tried, boxes[own : own + 1])
    cost += 0.02 * float(label_wh.prod()) * free  # among equals the preferred place
    return np.asarray(tried[int(cost.argmin())])


def overlap(boxes: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.float64]:
    """Pixels of each box that the others cover, summed: (M, 4), (N, 4) -> (M,)."""
    wide = np.minimum(boxes[:, None, 2], others[:, 2]) - np.maximum(boxes[:, None, 0], others[:, 0])
    high = np.minimum(boxes[:, None, 3], others[:, 3]) - np.maximum(boxes[:, None, 1], others[:, 1])
    return np.asarray((np.maximum(wide, 0) * np.maximum(high, 0)).sum(axis=1), np.float64)


def _around_box(box: NDArray[np.int32], label_w: int, label_h: int, line: int) -> NDArray[np.int32]:
    """Top left corners of a label at each place, the usual one first: (8, 2)."""
    x1, y1, x2, y2 = box.tolist()
    left, right = x1 - line, x2 + line - label_w
    above, below = y1 - line - label_h, y2 + line
    return np.array(
        [(left, above), (right, above), (left, below), (right, below), (x2 + line, y1), (x1 - line - label_w, y1),
         (x1, y1), (x1, y2 - label_h)], np.int32
    )  # fmt: skip


def _around_corners(
    corners: NDArray[np.float32], box: NDArray[np.int32], label_w: int, label_h: int, line: int
) -> NDArray[np.int32]:
    """Top left corners of a label around a rotated box: above, below, next to its corners, then inside, (8, 2).

    A label is centered on its corner but stays within the object's width: on a nearly upright box it is placed as on an
    upright one.
    """
    x1, y1, x2, y2 = box.tolist()
    order = np.lexsort((corners[:, 0], corners[:, 1]))  # by y, then x
    leftmost, rightmost = corners[corners[:, 0].argmin()], corners[corners[:, 0].argmax()]
    by_x = [int(min(max(c[0] - label_w / 2, x1 - line), max(x2 + line - label_w, x1 - line))) for c in corners[order]]
    above, below = y1 - line - label_h, y2 + line
    middle_x, middle_y = (int(v) for v in corners.mean(axis=0))
    return np.array(
        [(by_x[0], above), (by_x[3], below),
         (int(rightmost[0]) + line, int(rightmost[1]) - label_h // 2),
         (int(leftmost[0]) - line - label_w, int(leftmost[1]) - label_h // 2),
         (by_x[1], above), (by_x[2], below), (middle_x - label_w // 2, middle_y - label_h // 2), (x1, y1)], np.int32
    )  # fmt: skip
