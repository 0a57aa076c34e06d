"""The class of every source pixel from the score planes of a coarser map.

Scores are interpolated bilinearly at source pixels and compared there.  A class that is the best at all four corners of
a cell is the best everywhere in it, since interpolated scores are weighted means of the corners'.  So pixels of such
cells take their class from the map; only cells at the border between classes are interpolated.  And of two classes the
sign of the interpolated difference decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.maps import native_best_classes
from rkdeploy.device.postprocess.resampling import Axis
from rkdeploy.device.runtime.protocol import HeadTensor

_CHUNK: Final = 1 << 15
"""Pixels interpolated at once between two classes."""
_CHUNK_VALUES: Final = 1 << 19
"""Values gathered at once for pixels with more classes."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Source pixels in mixed cells.

    Attributes:
        slots: (N,) intp, number of each pixel's cell among the mixed ones.
        rows, columns: (N,) float32, position in the cell, 0..1.
    """

    slots: NDArray[np.intp]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]


def best_classes(tensor: HeadTensor, part: tuple[slice, slice], rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """Class with the highest interpolated score at each source pixel; of equal ones the lowest.

    Args:
        tensor: one score plane for each of 2 to 256 classes.
        part: rows and columns of the planes that are needed.
        rows: positions of the source rows in that part.
        columns: positions of the source columns.

    Returns:
        (H, W) uint8.
    """
    needed = replace(tensor, values=tensor.values[:, :, part[0], part[1]])
    library = native_library()
    if library is not None:
        return native_best_classes(library, needed, rows, columns)
    return _by_numpy(needed.nchw()[0], rows, columns)


def _by_numpy(planes: NDArray[Any], rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """`best_classes` of planes (C, h, w)."""
    best = _first_best(planes)
    found: NDArray[np.uint8] = best.take(rows.low, axis=0).take(columns.low, axis=1)
    right, below = (np.minimum(np.arange(size) + 1, size - 1) for size in (planes.shape[2], planes.shape[1]))
    mixed = best != best[:, right]
    mixed |= best != best[below]
    mixed |= best != best[below][:, right]
    cells = np.flatnonzero(mixed)
    if not len(cells):
        return found
    corners = _corners(planes, cells, below, right)
    slot_of = np.full(best.shape, -1, np.intp)
    slot_of.ravel()[cells] = np.arange(len(cells))
    at = np.flatnonzero(mixed.take(rows.low, axis=0).take(columns.low, axis=1))
    y, x = np.divmod(at, len(columns.low))
    pixels = _Pixels(slot_of[rows.low[y], columns.low[x]], rows.fraction[y], columns.fraction[x])
    found.ravel()[at] = _interpolated_best(corners, pixels)
    return found


def _first_best(planes: NDArray[Any]) -> NDArray[np.uint8]:
    """(h, w) class of the highest value in each cell of the map; of equal ones the lowest."""
    top = np.array(planes[0])
    best = np.zeros(top.shape, np.uint8)
    for number in range(1, len(planes)):
        plane = planes[number]
        np.copyto(best, np.uint8(number), where=plane > top)
        np.maximum(top, plane, out=top)
    return best


def _corners(
    planes: NDArray[Any], cells: NDArray[np.intp], below: NDArray[np.intp], right: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(4, n, C) float32: scores at the corners of cells: top left, top right, bottom left, bottom right."""
    width = planes.shape[2]
    top, left = np.divmod(cells, width)
    places = [
        top * width + left,
        top * width + right[left],
        below[top] * width + left,
        below[top] * width + right[left],
    ]
    flat = planes.reshape(len(planes), -1)
    return np.stack([flat.take(place, axis=1).T.astype(np.float32) for place in places])


def _interpolated_best(corners: NDArray[np.float32], pixels: _Pixels) -> NDArray[np.uint8]:
    """(N,) uint8, the best class at each pixel."""
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    # A class that is below another one at all corners cannot win inside.
    able = highest >= lowest.max(axis=1, keepdims=True)
    first = able.argmax(axis=1)
    last = able.shape[1] - 1 - able[:, ::-1].argmax(axis=1)
    cells = np.arange(able.shape[0])
    differences = corners[:, cells, last] - corners[:, cells, first]
    result = np.empty(len(pixels.slots), np.uint8)
    of_two = (able.sum(axis=1) == 2)[pixels.slots]
    for part in _parts(np.flatnonzero(of_two), _CHUNK):
        slots = pixels.slots[part]
        change = _between(differences.take(slots, axis=1), pixels.rows[part], pixels.columns[part])
        result[part] = np.where(change > 0, last.take(slots), first.take(slots))
    for part in _parts(np.flatnonzero(~of_two), max(1, _CHUNK_VALUES // able.shape[1])):
        slots = pixels.slots[part]
        scores = _between(corners.take(slots, axis=1), pixels.rows[part, None], pixels.columns[part, None])
        result[part] = np.where(able[slots], scores, -np.inf).argmax(axis=1)
    return result


def _between(
    corners: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Values between four corners (4, N, ...), in the order of maps.c: down on both sides, then across."""
    left = corners[0] + (corners[2] - corners[0]) * down
    right = corners[1] + (corners[3] - corners[1]) * down
    values: NDArray[np.float32] = left + (right - left) * across
    return values


def _parts(indices: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
