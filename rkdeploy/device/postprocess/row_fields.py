"""Dequantized channels of single rows of a head with levels: the few rows that are kept, not the whole tensors.

A cell of SSD's and SCRFD's heads has several rows; the channels of the first lie before those of the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.cell_values import read_cells
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.row_fields import NativeRowFields
from rkdeploy.device.postprocess.point_layout import PointLevel
from rkdeploy.device.postprocess.raw_values import dequantize
from rkdeploy.device.runtime.protocol import HeadTensor


class RowFields:
    """Reader of the rows of one head."""

    def __init__(self, levels: Sequence[PointLevel]) -> None:
        """Prepare the reading.

        Args:
            levels: of the head; row numbers go through all of them.
        """
        self._levels = levels
        self._level_ends = [level.end for level in levels]
        library = native_library()
        self._native = NativeRowFields(library, levels) if library is not None else None

    def __call__(self, tensors: Sequence[HeadTensor], role: str, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Dequantized channels of one role for the given rows, (C, n).

        Args:
            tensors: all tensors of the head, checked against the contract.
            role: role in the contract.
            rows: (n,), ascending.

        Returns:
            Memory of the caller's until the next call for this role.
        """
        if self._native is not None:
            return self._native(tensors, role, rows)
        first = self._levels[0]
        real = np.empty((first.parts[role].output.shape[1] // first.per_cell, len(rows)), np.float32)
        ends = rows.searchsorted(self._level_ends).tolist()
        for level, start, end in zip(self._levels, [0, *ends], ends, strict=False):
            if end > start:
                tensor = tensors[level.parts[role].index]
                cells, places = np.divmod(rows[start:end] - level.start, level.per_cell)
                raw = read_cells(tensor, cells)
                if level.per_cell > 1:
                    raw = raw.reshape(level.per_cell, len(real), end - start)[places, :, np.arange(end - start)].T
                dequantize(tensor, raw, real[:, start:end])
        return real
