"""Finds anchor-free heads whose graph decodes boxes and scores itself, in two tables: PicoDet, PP-YOLOE, YOLO-NAS, ...

Nothing is looked up by name.  The graph behind the last convolutions is run on noise.  Formulas of boxes and of scores
are tried, from a short list, on the channels of the convolutions: the table that holds what a formula gives, level by
level, is the decode.  So graphs that go on behind it with a top-k, suppression, clipping, or a division by the scale of
the image are read as well, and what was found is proven: the contract is verified against these two tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cell_formulas import (
    BOXES,
    SCORES,
    BoxFormula,
    ConvPart,
    ScoreFormula,
    ScoreParts,
    kind_of,
)
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedRows, DecodedTable, Head, Tap, TapRole, as_table, row_fields
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.session import Session

_MAX_CONVOLUTIONS = 32
_MAX_TABLES = 24  # of each kind, counted from the end of the graph
_MAX_CLASSES = 4096
_NOISE = 3.0
_SELECTING = frozenset({"NonMaxSuppression", "TopK", "NonZero"})  # what they give is no longer a row for each cell

Values = NDArray[np.float32]
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class _Level:
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
class _Table:
    """A tensor with a row for each cell, (columns, rows), its name, place in the graph and layout."""

    name: str
    place: int
    columns_first: bool
    values: Values


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The decoded boxes: where they are, by which formula, and by level the first row and the channels."""

    table: _Table
    formula: BoxFormula
    starts: tuple[int, ...]
    parts: tuple[ConvPart, ...]


@dataclass(frozen=True, slots=True)
class _Scores:
    """The scores: where they are, by which formula, and by level the first row and the channels."""

    table: _Table
    formula: ScoreFormula
    starts: tuple[int, ...]
    parts: tuple[ScoreParts, ...]


def find_decoded_cells(graph: GraphView, outputs: Sequence[str]) -> Head | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        None when the graph has no two tables of boxes and scores that a known formula gives.
    """
    try:
        convs = last_convolutions(graph, outputs)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if len(convs) > _MAX_CONVOLUTIONS:
        return None
    levels = _levels(convs)
    try:
        tables = list(_tables(graph, convs, levels))
    except GraphError:
        return None
    widths = sorted({len(table.values) for table in tables})
    boxes = next((one for table in tables if (one := _boxes_in(table, levels, widths)) is not None), None)
    if boxes is None:
        return None
    tables.sort(key=lambda table: -table.place)
    scores = next((found for table in tables if (found := _scores_in(table, levels, boxes)) is not None), None)
    if scores is None or not _uses_all(levels, boxes, scores):
        return None
    return _head(levels, boxes, scores)


def _levels(convs: Sequence[HeadConv]) -> tuple[_Level, ...]:
    """The levels, finest first, with seeded noise."""
    rng = np.random.default_rng(0)
    noise = {c.tensor: rng.uniform(-_NOISE, _NOISE, (c.shape[1], c.shape[2] * c.shape[3])) for c in convs}
    found = []
    for stride in sorted({conv.stride for conv in convs}):
        own = tuple(conv for conv in convs if conv.stride == stride)
        found.append(_Level(own, tuple(noise[conv.tensor].astype(np.float32) for conv in own)))
    return tuple(found)


def _tables(graph: GraphView, convs: Sequence[HeadConv], levels: Sequence[_Level]) -> Iterator[_Table]:
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
            yield _Table(name, places[name], columns_first, table if columns_first else table.T)


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


def _boxes_in(table: _Table, levels: Sequence[_Level], widths: Sequence[int]) -> _Boxes | None:
    """The boxes that a table of four columns holds; one of the widths is the number of classes."""
    if len(table.values) != 4:
        return None
    for formula in BOXES:
        options = [
            [
                (part, formula.decoded(part.of(level.noise), level.grid, level.stride))
                for part in formula.parts(level.convs, widths)
            ]
            for level in levels
        ]
        placed = _placed(table.values, options, [1e-4 * level.stride for level in levels])
        if placed is not None:
            return _Boxes(table, formula, *placed)
    return None


def _scores_in(table: _Table, levels: Sequence[_Level], boxes: _Boxes) -> _Scores | None:
    """The scores that a table holds, next to the boxes."""
    classes = len(table.values)
    if table.name == boxes.table.name:
        return None
    for formula in SCORES:
        options = [
            [(parts, formula.joined(parts, level.noise)) for parts in formula.parts(level.convs, box, classes)]
            for level, box in zip(levels, boxes.parts, strict=True)
        ]
        placed = _placed(table.values, options, [1e-5] * len(levels))
        if placed is not None and placed[0] == boxes.starts:
            return _Scores(table, formula, *placed)
    return None


def _uses_all(levels: Sequence[_Level], boxes: _Boxes, scores: _Scores) -> bool:
    """True if there is no convolution of something else, such as keypoints."""
    for level, box, parts in zip(levels, boxes.parts, scores.parts, strict=True):
        used = {part.conv for part in (box, parts.scores, parts.objectness) if part is not None}
        if len(used) != len(level.convs):
            return False
    return True


def _placed(
    table: Values, options: Sequence[Sequence[tuple[Part, Values]]], errors: Sequence[float]
) -> tuple[tuple[int, ...], tuple[Part, ...]] | None:
    """First row and part of each level, in whatever order the table lists the levels; None where a row fits none.

    Args:
        table: (columns, rows).
        options: by level, the parts and what each would give, (columns, cells).
        errors: allowed absolute difference by level; a relative one of 1e-5 is added.
    """
    found: dict[int, tuple[int, Part]] = {}
    start = 0
    while start < table.shape[1]:
        match = next(
            (
                (number, part, expected.shape[1])
                for number, level in enumerate(options)
                if number not in found
                for part, expected in level
                if _same(table[:, start : start + expected.shape[1]], expected, errors[number])
            ),
            None,
        )
        if match is None:
            return None
        found[match[0]] = (start, match[1])
        start += match[2]
    if len(found) != len(options):
        return None
    ordered = [found[number] for number in range(len(options))]
    return tuple(start for start, _ in ordered), tuple(part for _, part in ordered)


def _same(shown: Values, expected: Values, error: float) -> bool:
    if shown.shape != expected.shape:
        return False
    return bool((np.abs(shown - expected) <= error + 1e-5 * np.abs(expected)).all())


def _head(levels: Sequence[_Level], boxes: _Boxes, scores: _Scores) -> Head:
    """The head that the tables show."""
    classes = len(scores.table.values)
    taps: list[Tap] = []
    for number, (level, box, parts) in enumerate(zip(levels, boxes.parts, scores.parts, strict=True)):
        roles: list[tuple[TapRole, ConvPart]] = [(boxes.formula.role, box), ("scores", parts.scores)]
        if parts.objectness is not None:
            roles.append(("objectness", parts.objectness))
        taps += [_tap(level.convs[part.conv], role, part, number) for role, part in roles]
    points = boxes.formula.points(scores.formula.score)
    corners = boxes.formula.corners
    rows = DecodedRows(
        output=boxes.table.name,
        fields=row_fields({"xy": ("px", 2), "wh": ("px", 2)}),
        columns_first=boxes.table.columns_first,
        corners=corners,
        level_order=tuple(sorted(range(len(levels)), key=boxes.starts.__getitem__)),
        level_rows=tuple(level.cells for level in levels),
        others=(
            DecodedTable(scores.table.name, row_fields({"scores": ("score", classes)}), scores.table.columns_first),
        ),
    )
    kind = kind_of(boxes.formula, boxes.parts[0].count, scores.formula)
    return Head(tuple(taps), classes, rows=rows, points=points, kind=kind)


def _tap(conv: HeadConv, role: TapRole, part: ConvPart, level: int) -> Tap:
    whole = part.count == conv.shape[1]
    channels = None if whole else tuple(range(part.first, part.first + part.count))
    return Tap(conv.node, conv.tensor, role, conv.shape, conv.stride, level, channels=channels)
