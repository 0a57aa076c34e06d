"""Finds anchor-free heads whose graph decodes boxes and scores itself, in two tables: PicoDet, PP-YOLOE, YOLO-NAS, ...

Nothing is looked up by name.  The graph behind the last convolutions is run on noise.  Formulas of boxes and of scores
are tried, from a short list, on the channels of the convolutions: the table that holds what a formula gives, level by
level, is the decode.  So graphs that go on behind it with a top-k, suppression, clipping, or a division by the scale of
the image are read as well, and what was found is proven: the contract is verified against these two tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cell_extras import CellExtra, find_extra, is_map, left_parts, prototypes_of
from rkdeploy.host.graph.cell_formulas import (
    BOXES,
    SCORES,
    BoxFormula,
    ConvPart,
    ScoreFormula,
    ScoreParts,
    kind_of,
)
from rkdeploy.host.graph.cell_tables import CellLevel, CellTable, Values, cell_tables, levels_of, same
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedRows, DecodedTable, Head, Tap, TapRole, row_fields
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions

_MAX_CONVOLUTIONS = 32
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The decoded boxes: where they are, by which formula, and by level the first row and the channels."""

    table: CellTable
    formula: BoxFormula
    starts: tuple[int, ...]
    parts: tuple[ConvPart, ...]


@dataclass(frozen=True, slots=True)
class _Scores:
    """The scores: where they are, by which formula, and by level the first row and the channels."""

    table: CellTable
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
        convs = last_convolutions(graph, [name for name in outputs if not is_map(graph, name)] or outputs)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if len(convs) > _MAX_CONVOLUTIONS:
        return None
    levels = levels_of(convs)
    try:
        tables = list(cell_tables(graph, convs, levels))
    except GraphError:
        return None
    widths = sorted({len(table.values) for table in tables})
    boxes = next((one for table in tables if (one := _boxes_in(table, levels, widths)) is not None), None)
    if boxes is None:
        return None
    tables.sort(key=lambda table: -table.place)
    scores = next((found for table in tables if (found := _scores_in(table, levels, boxes)) is not None), None)
    if scores is None:
        return None
    left = [left_parts(level, _used(boxes, scores, number)) for number, level in enumerate(levels)]
    if not any(left):
        return _head(levels, boxes, scores)
    if any(len(parts) != 1 for parts in left):
        return None
    extra = find_extra(graph, levels, [parts[0] for parts in left], boxes.starts, tables)
    return None if extra is None else _with_extra(graph, levels, _head(levels, boxes, scores), extra)


def _boxes_in(table: CellTable, levels: Sequence[CellLevel], widths: Sequence[int]) -> _Boxes | None:
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


def _scores_in(table: CellTable, levels: Sequence[CellLevel], boxes: _Boxes) -> _Scores | None:
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


def _used(boxes: _Boxes, scores: _Scores, number: int) -> list[ConvPart]:
    """Channels of a level that boxes and scores have."""
    parts = scores.parts[number]
    return [part for part in (boxes.parts[number], parts.scores, parts.objectness) if part is not None]


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
                if same(table[:, start : start + expected.shape[1]], expected, errors[number])
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


def _head(levels: Sequence[CellLevel], boxes: _Boxes, scores: _Scores) -> Head:
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


def _with_extra(graph: GraphView, levels: Sequence[CellLevel], head: Head, extra: CellExtra) -> Head:
    """The head with mask coefficients or landmarks behind the other taps of each level."""
    role: TapRole = "keypoint_xy" if extra.keypoints is not None else "mask_coefficients"
    taps: list[Tap] = []
    for number, (level, part) in enumerate(zip(levels, extra.parts, strict=True)):
        taps += [tap for tap in head.taps if tap.level == number]
        taps.append(_tap(level.convs[part.conv], role, part, number))
    assert head.rows is not None  # `_head` has them
    rows = replace(head.rows, others=(*head.rows.others, extra.decoded))
    if extra.keypoints is not None:
        return replace(head, taps=tuple(taps), rows=rows, keypoints=extra.keypoints)
    tap, tensor = prototypes_of(graph, extra.prototypes)
    return replace(head, taps=(*taps, tap), rows=rows, masks=extra.parts[0].count, tensors=(tensor,))


def _tap(conv: HeadConv, role: TapRole, part: ConvPart, level: int) -> Tap:
    whole = part.count == conv.shape[1]
    channels = None if whole else tuple(range(part.first, part.first + part.count))
    return Tap(conv.node, conv.tensor, role, conv.shape, conv.stride, level, channels=channels)
