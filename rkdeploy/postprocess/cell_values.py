"""Search and reading of a head tensor's cells, as they lie in memory: NCHW, NHWC, or the NPU's own NC1HWC2."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.runtime.protocol import HeadTensor

_WORDS: Final = tuple(np.dtype(name) for name in ("uint64", "uint32", "uint16"))
_SIGN_BIT: Final = np.uint16(0x8000)


def at_least(values: NDArray[Any], limit: Any, out: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Where `values` are at or above `limit`; of float16 also where they are NaN of positive sign.

    numpy compares float16 by converting one value after the other, 30 times slower than integers.  The bits of
    float16 are ordered as its values are: upwards where the sign is positive, downwards where it is negative.

    Args:
        values: of any dtype and strides.
        limit: of the same dtype, not NaN.
        out: of the same shape, written to.
    """
    if values.dtype != np.float16:
        return np.asarray(np.greater_equal(values, limit, out=out))
    bits = np.float16(limit).view(np.uint16)
    if bits >= _SIGN_BIT or bits == 0:
        return np.asarray(np.less_equal(values.view(np.uint16), bits | _SIGN_BIT, out=out))
    return np.asarray(np.greater_equal(values.view(np.int16), bits.astype(np.int16), out=out))


def cells_at_least(tensor: HeadTensor, limit: Any) -> NDArray[np.intp]:
    """The cells, y * W + x, of which at least one channel is at or above `limit`, ascending, (n,).

    Args:
        tensor: (1, C, H, W) in any layout.
        limit: raw value, of the tensor's dtype.
    """
    values = tensor.values[0]
    if tensor.packed_channels is not None:
        return _cells_of_blocks(values, tensor.packed_channels, limit)
    channels, height, width = values.shape
    if channels > 1 and values.transpose(1, 2, 0).flags.c_contiguous:
        marks = at_least(values.transpose(1, 2, 0).reshape(height * width, channels), limit)
        return _marked_rows(_as_words(marks))
    if values.dtype.kind in "iu":  # the fastest, but of floats one NaN would hide a whole cell
        return np.asarray(at_least(values.max(axis=0), limit).ravel().nonzero()[0])
    return np.asarray(at_least(values, limit).any(axis=0).ravel().nonzero()[0])


def _cells_of_blocks(values: NDArray[Any], channels: int, limit: Any) -> NDArray[np.intp]:
    """`cells_at_least` of (C1, H, W, C2): the blocks first, then the lanes; the padding behind the last channel not."""
    _, height, width, lanes = values.shape
    full, rest = divmod(channels, lanes)
    words: NDArray[Any] | None = None
    if full:
        if values.dtype.kind in "iu":
            marks = at_least(values[:full].max(axis=0), limit)
        else:
            marks = at_least(values[:full], limit).any(axis=0)
        words = _as_words(marks.reshape(height * width, lanes))
    if rest:
        last = _as_words(at_least(values[full], limit).reshape(height * width, lanes))
        last &= _as_words((np.arange(lanes) < rest)[None])
        words = last if words is None else words | last
    assert words is not None
    return _marked_rows(words)


def _as_words(marks: NDArray[np.bool_]) -> NDArray[Any]:
    """Marks (N, M) as integers of up to eight marks each: numpy's `any` along short rows takes four times as long."""
    word = next((word for word in _WORDS if marks.shape[1] % word.itemsize == 0), None)
    return marks if word is None else np.ascontiguousarray(marks).view(word)


def _marked_rows(words: NDArray[Any]) -> NDArray[np.intp]:
    """The rows of `_as_words` with at least one mark, ascending."""
    columns = words.shape[1]
    rows: NDArray[np.intp] = (words != 0).ravel().nonzero()[0] // columns
    if len(rows) > 1 and columns > 1:
        rows = rows[np.concatenate(([True], rows[1:] != rows[:-1]))]
    return rows


def read_cells(tensor: HeadTensor, cells: NDArray[np.intp]) -> NDArray[Any]:
    """All raw channels of some cells, (C, n), in an order of memory that depends on the tensor's.

    Args:
        tensor: (1, C, H, W) in any layout.
        cells: y * W + x, (n,).
    """
    values = tensor.values[0]
    if tensor.packed_channels is None:
        channels, height, width = values.shape
        if values.flags.c_contiguous:
            return np.asarray(values.reshape(channels, height * width).take(cells, axis=1))
        if values.transpose(1, 2, 0).flags.c_contiguous:
            return np.asarray(values.transpose(1, 2, 0).reshape(height * width, channels).take(cells, axis=0).T)
        y, x = np.divmod(cells, width)
        return np.asarray(values[:, y, x])
    y, x = np.divmod(cells, values.shape[2])
    # Whole blocks, 16 bytes at a time, are read faster than the very lanes.
    blocks = values.transpose(1, 2, 0, 3)[y, x]
    return np.asarray(blocks.reshape(len(cells), values.shape[0] * values.shape[3])[:, : tensor.packed_channels].T)
