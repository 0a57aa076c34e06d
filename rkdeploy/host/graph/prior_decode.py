"""Anchors, steps and gains of SSD's boxes, read out of a graph's own decode.

Of zeros the decode makes the anchors themselves; noise then shows both gains ("variances").  Boxes may be corners or
centers and sizes, in pixels or shares of the image.  A reading counts only if every row of the noise follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import PriorFormula
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.box_tables import BoxMap, BoxTables, Table

_REGULAR = 1e-3  # of a step or a side, for anchors that were computed in float32 and stored as shares of the image
_FOLLOWS = 2e-4  # of the image's longer side, for float32's exp
_STEP_RANGE = 2.0
_GAINS = (1e-3, 10.0)

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PriorDecode:
    """The decode of a graph.

    Attributes:
        anchors: width and height in pixels.
        formula: gains and steps.
        corners: boxes are x1, y1, x2, y2 instead of center and size.
        fractions_of: (width, height) of the input where the output is in fractions of it; None where it is in pixels.
    """

    anchors: Anchors
    formula: PriorFormula
    corners: bool
    fractions_of: tuple[int, int] | None


def read_decode(tables: BoxTables, boxes: Sequence[BoxMap], landmarks: Sequence[BoxMap | None]) -> PriorDecode | None:
    """Read the decode of boxes, and of landmarks where there are some.

    Args:
        tables: the outputs.
        boxes: the boxes' map of each level, finest first.
        landmarks: the landmarks' map of each level.

    Returns:
        None when the graph computes something else.
    """
    try:
        zeros = tables.on_zeros()
    except GraphError:
        return None
    height, width = tables.graph.image_shape[2:]
    for corners in (True, False):
        for fractions_of in ((width, height), None):
            found = _reading(tables, zeros, boxes, corners=corners, fractions_of=fractions_of)
            if found is not None and _landmarks_follow(tables, landmarks, found):
                return found
    return None


def _reading(
    tables: BoxTables,
    zeros: Mapping[str, Table],
    boxes: Sequence[BoxMap],
    *,
    corners: bool,
    fractions_of: tuple[int, int] | None,
) -> PriorDecode | None:
    """The decode, if boxes are of this form and every row follows it."""
    scale = fractions_of or (1, 1)
    priors = [_as_centers(zeros[part.output][part.rows], scale, corners=corners) for part in boxes]
    shown = [_as_centers(tables.of(part), scale, corners=corners) for part in boxes]
    levels = [_regular(part, prior) for part, prior in zip(boxes, priors, strict=True)]
    found = [level for level in levels if level is not None]
    if len(found) < len(levels):
        return None
    given = np.concatenate([tables.given(part) for part in boxes]).astype(np.float64)
    prior, made = np.concatenate(priors), np.concatenate(shown)
    with np.errstate(all="ignore"):  # wrong readings take roots and logarithms of anything
        center = float(np.median((made[:, :2] - prior[:, :2]) / (given[:, :2] * prior[:, 2:])))
        size = float(np.median(np.log(made[:, 2:] / prior[:, 2:]) / given[:, 2:]))
    if not all(np.isfinite(gain) and _GAINS[0] < gain < _GAINS[1] for gain in (center, size)):
        return None
    center, size = (round(gain, 4) for gain in (center, size))
    expected = np.concatenate(
        (prior[:, :2] + given[:, :2] * center * prior[:, 2:], prior[:, 2:] * np.exp(given[:, 2:] * size)), axis=1
    )
    if not np.abs(expected - made).max() <= _FOLLOWS * max(tables.graph.image_shape[2:]):
        return None
    strided = all(steps == (part.conv.stride,) * 2 for part, (steps, _) in zip(boxes, found, strict=True))
    steps = () if strided else tuple(steps for steps, _ in found)
    return PriorDecode(
        Anchors(tuple(anchors for _, anchors in found)), PriorFormula(center, size, steps), corners, scale
    )


def _as_centers(rows: Table, scale: tuple[int, int], *, corners: bool) -> Values:
    """Center and size in pixels."""
    pixels: Values = rows.astype(np.float64) * (*scale, *scale)
    if not corners:
        return pixels
    low, high = pixels[:, :2], pixels[:, 2:]
    return np.concatenate(((low + high) / 2, high - low), axis=1)


def _regular(part: BoxMap, prior: Values) -> tuple[tuple[float, float], tuple[tuple[float, float], ...]] | None:
    """Steps and anchors of a level whose anchors stand in the middle of its cells; None for others."""
    height, width = part.conv.shape[2:]
    of_cells = prior.reshape(height, width, part.per_cell, 4)
    y, x = np.indices((height, width)) + 0.5
    steps = (float((of_cells[..., 0] / x[..., None]).mean()), float((of_cells[..., 1] / y[..., None]).mean()))
    sizes = of_cells[..., 2:].reshape(-1, part.per_cell, 2)
    if not (np.isfinite(prior).all() and sizes.min() > 0):
        return None
    if not all(part.conv.stride / _STEP_RANGE < step < part.conv.stride * _STEP_RANGE for step in steps):
        return None  # shares of the image that were taken for pixels, or pixels for shares
    off_x = np.abs(of_cells[..., 0] - steps[0] * x[..., None]).max() / steps[0]
    off_y = np.abs(of_cells[..., 1] - steps[1] * y[..., None]).max() / steps[1]
    spread = (np.ptp(sizes, axis=0) / sizes.mean(axis=0)).max()
    if max(off_x, off_y, spread) > _REGULAR:
        return None
    anchors = tuple((_rounded(w), _rounded(h)) for w, h in sizes.mean(axis=0))
    return (_rounded(steps[0]), _rounded(steps[1])), anchors


def _rounded(pixels: float) -> float:
    """A length without float32's noise, where it is a whole number of pixels."""
    near = round(float(pixels), 4)
    whole = float(round(near))
    return whole if abs(near - whole) < _REGULAR * 0.5 else near


def _landmarks_follow(tables: BoxTables, landmarks: Sequence[BoxMap | None], found: PriorDecode) -> bool:
    """True if landmarks are decoded as boxes' centers are, or there are none."""
    for number, part in enumerate(landmarks):
        if part is None:
            continue
        if part.activation is not None:
            return False
        grid, steps = part.conv.shape[2:], found.formula.steps_px
        step = steps[number] if steps else (float(part.conv.stride),) * 2
        y, x, place = (axis.ravel() for axis in np.indices((*grid, part.per_cell)))
        center = (np.stack((x, y), axis=1) + 0.5) * step
        size = np.array(found.anchors.levels_px[number])[place]
        given = tables.given(part).astype(np.float64).reshape(len(x), -1, 2)
        expected = center[:, None] + given * found.formula.center_gain * size[:, None]
        shown = tables.of(part).astype(np.float64).reshape(expected.shape) * (found.fractions_of or (1, 1))
        if not np.abs(expected - shown).max() <= _FOLLOWS * max(tables.graph.image_shape[2:]):
            return False
    return True
