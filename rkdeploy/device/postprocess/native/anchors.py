"""Candidate rows of an anchor head, found by the C code (anchors.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.anchor_layout import AnchorLevel
from rkdeploy.device.postprocess.native.layout import RawLimit, TensorLayout, address, layout_of, raw_limit_of
from rkdeploy.device.postprocess.score_search import Limit
from rkdeploy.device.runtime.protocol import HeadTensor

_FIRST_ROOM = 1024
_PARTS, _FIELDS = 3, 6


class _AnchorPart(ctypes.Structure):
    _fields_ = (("tensor", TensorLayout), ("first", ctypes.c_int32), ("end", ctypes.c_int32))


class _AnchorLevel(ctypes.Structure):
    _fields_ = (
        ("parts", _AnchorPart * _PARTS),
        ("part_count", ctypes.c_int64),
        ("anchors", ctypes.c_int64),
        ("first_row", ctypes.c_int64),
        ("limit", RawLimit),
    )


class _Search(ctypes.Structure):
    _fields_ = (
        ("levels", ctypes.c_void_p),
        ("level_count", ctypes.c_int64),
        ("class_count", ctypes.c_int64),
        ("room", ctypes.c_int64),
        ("found", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("class_ids", ctypes.c_void_p),
        ("fields", ctypes.c_void_p),
    )


class NativeAnchors:
    """Reader of one head's candidate rows.  It reuses its buffers: one per thread."""

    def __init__(self, library: ctypes.CDLL, levels: Sequence[AnchorLevel], class_count: int) -> None:
        self._library = library
        self._levels = levels
        # Without the mask coefficients.
        self._parts = [[part for part in level.parts if part.first < _FIELDS] for level in levels]
        self._level_array = (_AnchorLevel * len(levels))()
        self._search = _Search(ctypes.addressof(self._level_array), len(levels), class_count)
        # References to the tensors' entries in the structures, each with the tensor's index in the head.
        self._tensors = [
            (self._level_array[number].parts[place].tensor, part.index)
            for number, parts in enumerate(self._parts)
            for place, part in enumerate(parts)
        ]
        self._make_room(_FIRST_ROOM)

    def configure(self, tensors: Sequence[HeadTensor], limits: Sequence[Limit | None]) -> None:
        """Prepare everything that is the same in every frame.

        Args:
            tensors: all tensors of the head, checked against the contract.
            limits: limit of the raw objectness, one per level.
        """
        for number, (level, parts, limit) in enumerate(zip(self._levels, self._parts, limits, strict=True)):
            filled = self._level_array[number]
            for place, part in enumerate(parts):
                filled.parts[place] = _AnchorPart(layout_of(tensors[part.index]), part.first, part.end)
            filled.part_count, filled.anchors, filled.first_row = len(parts), level.grid[0], level.start
            filled.limit = raw_limit_of(limit)

    def __call__(self, tensors: Sequence[HeadTensor]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Rows whose objectness may pass, with their best class and real values.

        Args:
            tensors: of the layout that `configure` got.

        Returns:
            The rows, ascending, (n,); the best class of each, (n,); x, y, w, h, objectness and the score of that class
            as
            real values before the activation, (6, n).  All are views of memory that the next call overwrites.
        """
        for tensor, index in self._tensors:
            tensor.values = address(tensors[index].values)
        while needed := self._library.rkdeploy_search_anchors(ctypes.byref(self._search)):
            self._make_room(needed)
        found = self._search.found
        fields = self._fields[: _FIELDS * found].reshape(_FIELDS, found)
        return self._rows[:found], self._class_ids[:found], fields

    def _make_room(self, count: int) -> None:
        self._rows, self._class_ids = np.empty((2, count), np.intp)
        self._fields = np.empty(_FIELDS * count, np.float32)
        self._search.room = count
        self._search.rows, self._search.class_ids = address(self._rows), address(self._class_ids)
        self._search.fields = address(self._fields)
