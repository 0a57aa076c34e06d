"""Landmarks in the rows of an anchor head: which columns hold them, and by which formula, asked of its decode.

A raw output of zero gives 0.5 where there is a sigmoid, and the cell's place where there is a landmark; what a raw
output of one adds is the landmark's unit, the anchor's size or the stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError

_FIRST = 5


def landmark_layout(
    zeros: NDArray[np.float32], ones: NDArray[np.float32], anchors: Anchors, strides: Sequence[int], rows: Sequence[int]
) -> KeypointLayout | None:
    """The landmarks behind the objectness, None where no column holds one.

    YOLOv5-face has x and y of each landmark, then the classes; YOLOv7-pose and -face have the classes, then x, y and
    score of each.

    Args:
        zeros: decoded rows of raw outputs of 0, (n, fields), in pixels, the levels in the order of `strides`.
        ones: decoded rows of raw outputs of 1, in the same form.
        anchors: of the levels.
        strides: input pixels per cell of each level.
        rows: rows of each level; the first of each anchor is that of the first cell.

    Raises:
        GraphError: when the columns are in neither of these orders.
    """
    columns = [c for c in range(_FIRST, zeros.shape[1]) if np.abs(zeros[:, c] - 0.5).max() > 1e-4]
    if not columns:
        return None
    first, count, scored = _order(columns, zeros.shape[1])
    starts = _first_cells(anchors, rows)
    sizes = np.array([wh for level in anchors.levels_px for wh in level])
    pitch = np.repeat(np.array(strides, np.float64), [len(level) for level in anchors.levels_px])[:, None]
    xy, moved = (values[starts][:, first : first + 2].astype(np.float64) for values in (zeros, ones))
    offset = float((xy / pitch).mean())
    for by_anchor, unit in ((True, sizes), (False, pitch)):
        gains = (moved - xy) / unit
        if np.ptp(gains) < 1e-3 * max(1.0, np.abs(gains).max()):
            gain = float(gains.mean())
            return KeypointLayout(count, scored, _rounded(gain), _rounded(offset), by_anchor)
    raise GraphError("The landmarks of the decoded rows are neither in units of the anchors nor of the strides.")


def _order(columns: Sequence[int], fields: int) -> tuple[int, int, bool]:
    """First column of the landmarks, their number, and whether each has a score.

    Args:
        columns: those behind the objectness that are not scores.
        fields: number of all columns.

    Raises:
        GraphError: when the order is none of the known ones.
    """
    count, rest = divmod(len(columns), 2)
    first = columns[0]
    if not rest and list(columns) == list(range(_FIRST, _FIRST + 2 * count)) and _FIRST + 2 * count < fields:
        return _FIRST, count, False
    pairs = [first + 3 * point + axis for point in range(count) for axis in (0, 1)]
    if not rest and list(columns) == pairs and first > _FIRST and first + 3 * count == fields:
        return first, count, True
    raise GraphError(
        f"Columns {', '.join(map(str, columns))} of the decoded rows are not scores, expected x and y of each landmark "
        "behind the objectness, then the classes; or the classes, then x, y and score of each."
    )


def _first_cells(anchors: Anchors, rows: Sequence[int]) -> list[int]:
    """Row of the first cell of every anchor of every level."""
    starts, start = [], 0
    for level, count in zip(anchors.levels_px, rows, strict=True):
        starts += [start + anchor * count // len(level) for anchor in range(len(level))]
        start += count
    return starts


def _rounded(value: float) -> float:
    """A formula's number without float32's noise."""
    return round(value, 4) + 0.0
