"""Tables with a row for each cell, and the last convolutions that they are computed from, run on noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import as_table
from rkdeploy.host.graph.head_walk import HeadConv, tail
from rkdeploy.host.graph.session import Session

_MAX_TABLES = 48  # of each kind, counted from the end of the graph; YOLOv6-face has 28 of each landmark's own
_MAX_CLASSES = 4096
_NOISE = 3.0
_SELECTING = frozenset({"NonMaxSuppression", "TopK", "NonZero"})  # what they give is no longer a row for each cell

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CellLevel:
    """Last convolutions of a level and their noise, (C, cells)."""

    convs: tuple[HeadConv, ...]
    noise: tuple[Values, ...]

    @property
    def stride(self) -> int:
        return self.convs[0].stride

    @property
    def grid(self) -> tuple[int, int]:
        return self.convs[0].shape[2:]

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True)
class CellTable:
    """A tensor with a row for each cell, (columns, rows), its name, place in the graph and layout."""

    name: str
    place: int
    columns_first: bool
    values: Values


def levels_of(convs: Sequence[HeadConv]) -> tuple[CellLevel, ...]:
    """The levels, finest first, with seeded noise."""
    rng = np.random.default_rng(0)
    noise = {c.tensor: rng.uniform(-_NOISE, _NOISE, (c.shape[1], c.shape[2] * c.shape[3])) for c in convs}
    found = []
    for stride in sorted({conv.stride for conv in convs}):
        own = tuple(conv for conv in convs if conv.stride == stride)
        found.append(CellLevel(own, tuple(noise[conv.tensor].astype(np.float32) for conv in own)))
    return tuple(found)


def cell_tables(graph: GraphView, convs: Sequence[HeadConv], levels: Sequence[CellLevel]) -> Iterator[CellTable]:
    """Tensors behind the convolutions with one row per cell, the last first: those of four columns, and others."""
    rows = sum(level.cells for level in levels)
    behind = {conv.tensor for conv in convs}
    named: list[tuple[str, bool]] = []
    for node in graph.model.graph.node:
        if node.op_type not in _SELECTING and not behind.isdisjoint(node.input):
            behind.update(name for name in node.output if name)
            named += [
                (name, first) for name in node.output if (first := _columns_first(graph.shape(name), rows)) is not None
            ]
    fours = [each for each in named if _width(graph.shape(each[0]), rows) == 4]
    others = [each for each in named if each not in fours]
    places = {name: number for number, (name, _) in enumerate(named)}
    chosen = [*reversed(fours[-_MAX_TABLES:]), *reversed(others[-_MAX_TABLES:])]
    given = {conv.tensor for conv in convs}
    chosen = [(name, first) for name, first in chosen if name not in given]
    if not chosen:
        return
    noise = {c.tensor: v.reshape(c.shape) for level in levels for c, v in zip(level.convs, level.noise, strict=True)}
    shown = Session(tail(graph, convs, *(name for name, _ in chosen))).run(noise)
    for name, columns_first in chosen:
        if shown[name].dtype == np.float32:
            table = as_table(shown[name])
            yield CellTable(name, places[name], columns_first, table if columns_first else table.T)


def _columns_first(shape: Sequence[int], rows: int) -> bool | None:
    """Layout of a tensor with one row per cell; None for another tensor."""
    if not 2 <= len(shape) <= 4 or not 0 < _width(shape, rows) <= _MAX_CLASSES:
        return None
    return shape[-1] == rows


def _width(shape: Sequence[int], rows: int) -> int:
    """Columns of a tensor with one row per cell, 0 for another tensor."""
    if rows not in shape:
        return 0
    rest = list(shape)
    rest.remove(rows)
    longer = [n for n in rest if n != 1]
    return 0 if len(longer) > 1 or 0 in rest else (longer or [1])[0]


def same(shown: Values, expected: Values, error: float) -> bool:
    if shown.shape != expected.shape:
        return False
    return bool((np.abs(shown - expected) <= error + 1e-5 * np.abs(expected)).all())
