"""Reading of single cells of an anchor head's tensors, in any memory layout and without converting the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.anchor_layout import OBJECTNESS, AnchorPart
from rkdeploy.device.runtime.protocol import HeadTensor


def gather_fields(
    part: AnchorPart,
    tensor: HeadTensor,
    grid: tuple[int, int, int],
    anchors: NDArray[np.intp],
    cells: NDArray[np.intp],
    first: int,
    end: int,
) -> NDArray[Any]:
    """Raw fields of the given cells, (n, fields), read without converting the rest of the tensor.

    Args:
        part: the fields that the tensor holds.
        tensor: in any layout.
        grid: anchors, rows and columns of the level.
        anchors: (n,) anchor of each cell, ascending.
        cells: (n,) y * W + x of each cell.
        first: index of the first field to read; the tensor holds all of them.
        end: index behind the last field.
    """
    field_count = part.end - part.first
    fields = slice(first - part.first, end - part.first)
    values = tensor.values
    if tensor.packed_channels is None:
        # Splitting an axis never copies, whatever the strides: NHWC memory is read as it lies.
        if values.strides[2] == grid[2] * values.strides[3]:  # merging these does not copy either, and saves one index
            flat: NDArray[Any] = values.reshape(grid[0], field_count, grid[1] * grid[2])[:, fields].transpose(0, 2, 1)
            return np.asarray(flat[anchors, cells])
        y, x = np.divmod(cells, grid[2])
        rows: NDArray[Any] = values.reshape(grid[0], field_count, grid[1], grid[2])[:, fields].transpose(0, 2, 3, 1)
        return np.asarray(rows[anchors, y, x])
    y, x = np.divmod(cells, grid[2])
    lanes = values.shape[4]
    count = end - first
    gathered = np.empty((len(cells), count), values.dtype)
    ends = anchors.searchsorted(range(1, grid[0] + 1)).tolist()
    for anchor, (start, stop) in enumerate(zip([0, *ends], ends, strict=False)):
        # Reading whole blocks, 16 bytes at a time, is faster than reading single lanes.
        channel = anchor * field_count + fields.start
        block = channel // lanes
        blocks = values[0, block : (channel + count - 1) // lanes + 1].transpose(1, 2, 0, 3)
        channels = blocks[y[start:stop], x[start:stop]].reshape(stop - start, blocks.shape[2] * lanes)
        gathered[start:stop] = channels[:, channel - block * lanes :][:, :count]
    return gathered


def mark_from(
    part: AnchorPart, tensor: HeadTensor, grid: tuple[int, int, int], limit: Any, passes: NDArray[np.bool_]
) -> None:
    """Write into `passes` (rows of the level,) True where the raw objectness is at or above `limit`."""
    field_count = part.end - part.first
    first = OBJECTNESS - part.first
    marks = passes.reshape(grid)
    if tensor.packed_channels is None:
        planes = tensor.values.reshape(grid[0], field_count, grid[1], grid[2])[:, first]
        np.greater_equal(planes, limit, out=marks)
        return
    lanes = tensor.values.shape[4]
    for anchor in range(grid[0]):
        block, lane = divmod(first + anchor * field_count, lanes)
        np.greater_equal(tensor.values[0, block, :, :, lane], limit, out=marks[anchor])
