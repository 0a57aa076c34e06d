"""Search of a head's scores for those at or above a limit, in memory order.

Of some hundred thousand scores a few hundred pass, and most of the time goes into reading memory.  So the only pass
over all of them folds the memory eightfold and takes the maximum of every eight scores that come to lie on one another;
where that passes, the eight are compared one by one.  The result is single scores: other scores of a cell are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor

_SIGNED: Final[dict[np.dtype[Any], np.dtype[Any]]] = {
    np.dtype(np.float16): np.dtype(np.int16),
    np.dtype(np.float32): np.dtype(np.int32),
}
_UNSIGNED: Final[dict[np.dtype[Any], np.dtype[Any]]] = {
    np.dtype(np.float16): np.dtype(np.uint16),
    np.dtype(np.float32): np.dtype(np.uint32),
}
_LAID_FROM: Final = 1 << 18
"""Tensors with fewer scores are compared one by one: folding them costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The comparison `value >= limit` on integers.

    The bit patterns of floats have the order of their values if the sign is positive, and the reverse order if it is
    negative.  Compared this way a NaN does not hide a number folded onto it; and numpy compares float16 30 times slower
    than integers.

    Attributes:
        view: integer dtype of the values' size.
        best: picks the value more likely to pass: `np.maximum` or `np.minimum`.
        passes: `np.greater_equal` or `np.less_equal`.
        bound: right-hand side of the comparison.
    """

    view: np.dtype[Any]
    best: np.ufunc
    passes: np.ufunc
    bound: Any

    @classmethod
    def of(cls, limit: Any) -> Limit:
        """The comparison for one limit.

        Args:
            limit: scalar of the values' dtype, not NaN.  NaN values may pass or not.
        """
        dtype = np.dtype(type(limit))
        if dtype.kind != "f":
            return cls(dtype, np.maximum, np.greater_equal, limit)
        if limit > 0.0:
            return cls(_SIGNED[dtype], np.maximum, np.greater_equal, limit.view(_SIGNED[dtype]))
        # All of positive sign, and of the others those down to the limit; of limit 0 that includes -0.
        return cls(_UNSIGNED[dtype], np.minimum, np.less_equal, (-np.abs(limit)).view(_UNSIGNED[dtype]))


@dataclass(frozen=True, slots=True)
class LevelHits:
    """Scores found in one level, ascending by cell, then class.

    Attributes:
        places: (n,) intp, cell * classes + class, where cell is y * W + x.
        raw: (n,) of the tensor's dtype.
    """

    places: NDArray[np.intp]
    raw: NDArray[Any]


def scores_at_least(tensors: Sequence[HeadTensor], limits: Sequence[Limit | None]) -> list[LevelHits]:
    """The scores at or above the limit of their tensor, one result per tensor.

    Args:
        tensors: (1, C, H, W) each, in any layout.
        limits: one per tensor, of its dtype; None if no value passes.
    """
    memories = [_as_blocks(tensor) for tensor in tensors]
    pads = [
        memory.shape[0] * memory.shape[2] - tensor.shape[1] for tensor, memory in zip(tensors, memories, strict=True)
    ]
    laid = [_laid(memory, pad, limit) for memory, pad, limit in zip(memories, pads, limits, strict=True)]
    # Small calls cost more than their work: the marks of all levels are searched in one call.
    ends = list(accumulate(-(-part.shape[1] // 8) * 8 for part in laid))
    marks = np.zeros(ends[-1], np.bool_)
    starts = [0, *ends[:-1]]
    for memory, pad, part, limit, start in zip(memories, pads, laid, limits, starts, strict=True):
        if limit is not None:
            best = limit.best.reduce(part, axis=0) if len(part) > 1 else part[0]
            of_part = marks[start : start + part.shape[1]]
            limit.passes(best, limit.bound, out=of_part)
            if pad:
                _unmark_padding(of_part.reshape(memory.shape)[-1], pad)
    columns = _marked(marks)
    cuts = columns.searchsorted(ends).tolist()
    return [
        _hits(tensor, memory, _unlaid(part, columns[low:high] - start, limit))
        for tensor, memory, part, limit, start, low, high in zip(
            tensors, memories, laid, limits, starts, [0, *cuts[:-1]], cuts, strict=True
        )
    ]


def _as_blocks(tensor: HeadTensor) -> NDArray[Any]:
    """The values as (blocks, cells, lanes), contiguous, with channel c in block c // lanes, lane c % lanes.

    NCHW has one lane, NHWC one block, NC1HWC2 several of both.  Copies only if the memory is none of these.
    """
    values = tensor.values[0]
    if tensor.packed_channels is not None:
        _, height, width, lanes = values.shape
        blocks = -(-tensor.packed_channels // lanes)
        return np.ascontiguousarray(values[:blocks]).reshape(blocks, height * width, lanes)
    channels, height, width = values.shape
    by_cell = values.transpose(1, 2, 0)
    if by_cell.flags.c_contiguous:
        values = by_cell.reshape(1, height * width, channels)
    else:
        values = np.ascontiguousarray(values).reshape(channels, height * width, 1)
    return np.asarray(values)


def _laid(memory: NDArray[Any], pad: int, limit: Limit | None) -> NDArray[Any]:
    """The values as integers, folded eightfold if that pays, (layers, n).

    Not folded if there is padding: it may hold any value, and hide which of the values passed.
    """
    layers = 8 if memory.size > _LAID_FROM and memory.size % 8 == 0 and not pad else 1
    integers: NDArray[Any] = memory if limit is None else memory.view(limit.view)
    return integers.reshape(layers, memory.size // layers)


def _unmark_padding(marks: NDArray[np.bool_], pad: int) -> None:
    """Clear the marks of the last `pad` lanes.

    Args:
        marks: (cells, lanes) of the last block.
        pad: number of padding lanes.
    """
    used = np.arange(marks.shape[1]) < marks.shape[1] - pad
    if marks.shape[1] % 8 == 0:  # eight marks at a time
        words = marks.view(np.uint64)
        words &= used.view(np.uint64)
    else:
        marks &= used


def _marked(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the few marks, ascending.  Tests eight marks at a time, numpy one.

    Args:
        marks: (8 n,).
    """
    words = marks.view(np.uint64)
    places = (words != 0).nonzero()[0]
    inner = words.take(places).view(np.bool_).nonzero()[0]
    starts = places - np.arange(len(places))  # number of words in `marks` minus those in `inner`
    starts <<= 3
    found: NDArray[np.intp] = starts.take(inner >> 3)
    found += inner
    return found


def _unlaid(laid: NDArray[Any], columns: NDArray[np.intp], limit: Limit | None) -> NDArray[np.intp]:
    """Indices in memory, ascending, of the values that pass.

    Args:
        laid: the folded values.
        columns: (n,), ascending, columns whose maximum passes.
        limit: to compare with.
    """
    layers, length = laid.shape
    if limit is None or layers == 1:
        return columns
    places = np.arange(0, layers * length, length)[:, None] + columns
    passed = limit.passes(laid.reshape(-1).take(places), limit.bound)
    return np.asarray(places.ravel().take(passed.ravel().nonzero()[0]))


def _hits(tensor: HeadTensor, memory: NDArray[Any], found: NDArray[np.intp]) -> LevelHits:
    """Convert indices in memory to cells and classes.

    Args:
        tensor: the tensor that was searched.
        memory: its values as blocks.
        found: (n,) indices in memory, ascending.
    """
    raw = memory.reshape(-1).take(found)
    blocks, cells, lanes = memory.shape
    channels = tensor.shape[1]
    if blocks == 1 and lanes == channels:
        return LevelHits(found, raw)  # already by cell, then class
    block = found // (cells * lanes)
    cell = found - block * (cells * lanes)
    channel = block
    if lanes > 1:
        place = cell
        cell = place // lanes
        channel = block * lanes + (place - cell * lanes)
    places = cell * channels + channel
    order = places.argsort()
    return LevelHits(places.take(order), raw.take(order))


def best_of_rows(rows: NDArray[np.intp], values: NDArray[np.float32]) -> NDArray[np.intp] | None:
    """Index of the greatest value of each row, the first of several equal ones; None when all rows are different.

    Args:
        rows: (n,), ascending.
        values: (n,).  NaN is ignored; a row with only NaN may be returned with NaN or omitted.
    """
    first = np.ones(len(rows), np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    starts = first.nonzero()[0]
    if len(starts) == len(rows):
        return None
    greatest = np.fmax.reduceat(values, starts).take(first.cumsum() - 1)
    equal = (values == greatest).nonzero()[0]
    of_rows = rows.take(equal)
    first = np.ones(len(equal), np.bool_)
    np.not_equal(of_rows[1:], of_rows[:-1], out=first[1:])
    return np.asarray(equal[first])
