"""Channels of single rows of a head by the C code (fields.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.layout import TensorLayout, address, layout_of
from rkdeploy.device.postprocess.point_layout import PointLevel
from rkdeploy.device.postprocess.raw_values import layout_key
from rkdeploy.device.runtime.protocol import HeadTensor

_FIRST_ROOM = 1024


class _FieldLevel(ctypes.Structure):
    _fields_ = (
        ("tensor", TensorLayout),
        ("first_row", ctypes.c_int64),
        ("end_row", ctypes.c_int64),
        ("per_cell", ctypes.c_int32),
        ("fields", ctypes.c_int32),
    )


class _FieldTable(ctypes.Structure):
    _fields_ = (("levels", ctypes.c_void_p), ("level_count", ctypes.c_int64))


class _Role:
    """The tensors of one role, as the C code reads them."""

    def __init__(self, levels: Sequence[PointLevel], role: str) -> None:
        self._parts = [level.parts[role] for level in levels]
        self.fields = self._parts[0].output.shape[1] // levels[0].per_cell
        self._levels = (_FieldLevel * len(levels))()
        for filled, level in zip(self._levels, levels, strict=True):
            filled.first_row, filled.end_row = level.start, level.end
            filled.per_cell, filled.fields = level.per_cell, self.fields
        # References to the tensors' entries in the structures: looking them up costs more than writing to them.
        self._tensors = [level.tensor for level in self._levels]
        self._key: tuple[Any, ...] = ()
        self.table = _FieldTable(ctypes.addressof(self._levels), len(levels))
        self.memory = np.empty(self.fields * _FIRST_ROOM, np.float32)
        self._room = address(self.memory)

    def room_for(self, count: int) -> int:
        """Address of memory for the channels of `count` rows."""
        if self.fields * count > len(self.memory):
            self.memory = np.empty(2 * self.fields * count, np.float32)
            self._room = address(self.memory)
        return self._room

    def point_to(self, tensors: Sequence[HeadTensor]) -> None:
        """Let the C code read these tensors, whose layouts are mostly those of the frame before."""
        own = [tensors[part.index] for part in self._parts]
        key = layout_key(own)
        if key != self._key:
            for filled, part, tensor in zip(self._levels, self._parts, own, strict=True):
                assert tensor.shape == part.output.shape, "checked against the contract"
                filled.tensor = layout_of(tensor)
            self._key = key
        for filled, tensor in zip(self._tensors, own, strict=True):
            filled.values = address(tensor.values)


class NativeRowFields:
    """C implementation of `RowFields` for one head.  It reuses its buffers: one per thread."""

    def __init__(self, library: ctypes.CDLL, levels: Sequence[PointLevel]) -> None:
        self._library = library
        self._roles = {role: _Role(levels, role) for role in levels[0].parts}

    def __call__(self, tensors: Sequence[HeadTensor], role: str, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Dequantized channels of one role for the given ascending rows, (C, n).

        Returns:
            A view of memory that the next call for this role overwrites.
        """
        known = self._roles[role]
        known.point_to(tensors)
        if not rows.flags.c_contiguous:
            rows = np.ascontiguousarray(rows)
        count = len(rows)
        room = known.room_for(count)
        failed = self._library.rkdeploy_fields(ctypes.byref(known.table), address(rows), count, room)
        assert not failed, "rows ascend and are the head's own"
        return known.memory[: known.fields * count].reshape(known.fields, count)
