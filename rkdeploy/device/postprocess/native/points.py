"""Scores and boxes of an anchor-free head by the C code (scores.c, distances.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.distances import exponentials, has_table
from rkdeploy.device.postprocess.native.layout import LANES, RawLimit, TensorLayout, address, layout_of, raw_limit_of
from rkdeploy.device.postprocess.point_layout import PointLevel
from rkdeploy.device.postprocess.score_search import Limit
from rkdeploy.device.runtime.protocol import HeadTensor

_FIRST_ROOM = 4096


class _ScoreLevel(ctypes.Structure):
    _fields_ = (("tensor", TensorLayout), ("limit", RawLimit), ("first_row", ctypes.c_int64))


class _ScoreSearch(ctypes.Structure):
    _fields_ = (
        ("levels", ctypes.c_void_p),
        ("level_count", ctypes.c_int64),
        ("every_class", ctypes.c_int64),
        ("room", ctypes.c_int64),
        ("found", ctypes.c_int64),
        ("hits", ctypes.c_void_p),
        ("sorted", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("class_ids", ctypes.c_void_p),
        ("reals", ctypes.c_void_p),
    )


class _BoxLevel(ctypes.Structure):
    _fields_ = (
        ("tensor", TensorLayout),
        ("exponentials", ctypes.c_void_p),
        ("first_row", ctypes.c_int64),
        ("end_row", ctypes.c_int64),
        ("stride", ctypes.c_float),
    )


class _BoxArguments(ctypes.Structure):
    _fields_ = (
        ("levels", ctypes.c_void_p),
        ("level_count", ctypes.c_int64),
        ("reg_max", ctypes.c_int64),
        ("bins", ctypes.c_void_p),
    )


class NativePoints:
    """C implementation of `score_search` and `distances` for one head.  It reuses its buffers: one per thread."""

    def __init__(
        self,
        library: ctypes.CDLL,
        levels: Sequence[PointLevel],
        box_role: str,
        *,
        every_class: bool,
        score_role: str = "scores",
    ) -> None:
        """Allocate the structures that the C code reads.

        Args:
            library: the C library.
            levels: levels of the head.
            box_role: role of the tensors that hold the boxes.
            every_class: True if a row is found once per class that passes, False if only for its best class, which
                heads with several boxes per cell do not take.
            score_role: role of the tensors that are searched.
        """
        self._library = library
        self._levels = levels
        self._score_parts = [level.parts[score_role].index for level in levels]
        self._box_parts = [level.parts[box_role].index for level in levels]
        self._score_levels = (_ScoreLevel * len(levels))()
        self._box_levels = (_BoxLevel * len(levels))()
        # References to the tensors' entries in the structures: looking them up costs more than writing to them.
        self._score_tensors = [level.tensor for level in self._score_levels]
        self._box_tensors = [level.tensor for level in self._box_levels]
        self._search = _ScoreSearch(
            ctypes.addressof(self._score_levels), level_count=len(levels), every_class=every_class
        )
        reg_max = levels[0].parts[box_role].output.shape[1] // 4
        self._bins = np.empty((reg_max, LANES), np.float32)
        self._boxes = _BoxArguments(ctypes.addressof(self._box_levels), len(levels), reg_max, address(self._bins))
        cells = [level.grid[0] * level.grid[1] for level in levels]
        self._counts = np.empty(max(cells) + 1, np.int32)
        self._first_row: NDArray[np.intp] | None = None  # of each cell
        if any(level.per_cell > 1 for level in levels):
            self._first_row = np.concatenate([np.arange(e.start, e.end, e.per_cell) for e in levels])
        self._first_cells = np.cumsum([0, *cells]).tolist()
        self._search.counts = address(self._counts)
        self._tables: list[NDArray[np.float32]] = []
        self._make_room(_FIRST_ROOM)

    def configure(self, tensors: Sequence[HeadTensor], limits: Sequence[Limit | None]) -> None:
        """Prepare everything that is the same in every frame.

        Args:
            tensors: all tensors of the head, checked against the contract.
            limits: limit of the raw scores, one per level.
        """
        self._tables = []
        for number, (level, limit) in enumerate(zip(self._levels, limits, strict=True)):
            scores, boxes = self._score_levels[number], self._box_levels[number]
            scores.tensor = layout_of(tensors[self._score_parts[number]])
            scores.limit, scores.first_row = raw_limit_of(limit), self._first_cells[number]
            tensor = tensors[self._box_parts[number]]
            boxes.tensor = layout_of(tensor)
            boxes.first_row, boxes.end_row, boxes.stride = level.start, level.end, level.stride
            boxes.exponentials = None
            if has_table(tensor):
                self._tables.append(exponentials(tensor.scale, tensor.values.dtype))
                boxes.exponentials = address(self._tables[-1])

    def scores(
        self, tensors: Sequence[HeadTensor], classes: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Rows, classes and dequantized scores that may pass, ascending by row, then class, (n,) each.

        Args:
            tensors: of the layout that `configure` got.
            classes: scores per row.

        Returns:
            Views of memory that the next call overwrites.
        """
        for tensor, index in zip(self._score_tensors, self._score_parts, strict=True):
            tensor.values = address(tensors[index].values)
        while needed := self._library.rkdeploy_search_scores(ctypes.byref(self._search)):
            self._make_room(needed)
        found = self._search.found
        rows, class_ids, reals = self._rows[:found], self._class_ids[:found], self._reals[:found]
        if self._first_row is None:
            return rows, class_ids, reals
        places, class_ids = np.divmod(class_ids, classes)  # the channels of a cell: box by box
        return self._first_row.take(rows) + places, class_ids, reals

    def xyxy(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Corners of the given ascending rows in input pixels, (n, 4), for distances from the cells' middle."""
        xyxy = np.empty((len(rows), 4), np.float32)
        self._read_boxes(tensors, rows, address(xyxy), None)
        return xyxy

    def distances(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Distances of the given ascending rows in cells, (4, n)."""
        distances = np.empty((4, len(rows)), np.float32)
        self._read_boxes(tensors, rows, None, address(distances))
        return distances

    def _read_boxes(
        self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp], xyxy: int | None, distances: int | None
    ) -> None:
        for tensor, index in zip(self._box_tensors, self._box_parts, strict=True):
            tensor.values = address(tensors[index].values)
        failed = self._library.rkdeploy_boxes(ctypes.byref(self._boxes), address(rows), len(rows), xyxy, distances)
        assert not failed, "rows ascend and are the head's own"

    def _make_room(self, count: int) -> None:
        search = self._search
        search.room = count
        self._hits: NDArray[Any] = np.empty((2, count, 3), np.int32)  # `hits` and `sorted`: 12 bytes each
        self._rows, self._class_ids = np.empty((2, count), np.intp)
        self._reals = np.empty(count, np.float32)
        search.hits, search.sorted = address(self._hits), address(self._hits[1])
        search.rows, search.class_ids = address(self._rows), address(self._class_ids)
        search.reals = address(self._reals)
