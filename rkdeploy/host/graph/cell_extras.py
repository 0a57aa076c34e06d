"""Mask coefficients and landmarks next to decoded boxes and scores: YOLOv6's branches yolov6-seg and yolov6-face.

The channels that boxes and scores leave are looked for in the graph's tables: as they are (coefficients, where an
output has as many prototypes), or as points in pixels by one of a few formulas (landmarks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.host.graph.cell_formulas import ConvPart
from rkdeploy.host.graph.cell_tables import CellLevel, CellTable, Values, same
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import PROTOTYPES, DecodedField, DecodedTable, DecodedTensor, Tap

_FEWEST = 4  # x and y of two landmarks; less is a spare class
_POINT_FORMULAS = ((1.0, 0.5), (1.0, 0.0), (2.0, 0.0), (2.0, 0.5))  # gain and offset in cells, see `KeypointLayout`


@dataclass(frozen=True, slots=True)
class CellExtra:
    """Columns next to boxes and scores.

    Attributes:
        parts: channels of each level.
        table: where the graph has them, decoded.
        first: first column there.
        keypoints: their formula; None for mask coefficients.
        prototypes: output with the prototypes of masks; empty for landmarks.
    """

    parts: tuple[ConvPart, ...]
    table: CellTable
    first: int
    keypoints: KeypointLayout | None
    prototypes: str

    @property
    def decoded(self) -> DecodedTable:
        """The columns as a head lists them."""
        columns = tuple(range(self.first, self.first + self.parts[0].count))
        field = DecodedField("keypoint_xy", "px", columns) if self.keypoints else DecodedField(
            "coefficients", "value", columns
        )  # fmt: skip
        return DecodedTable(self.table.name, (field,), self.table.columns_first)


def left_parts(level: CellLevel, used: Sequence[ConvPart]) -> tuple[ConvPart, ...]:
    """Runs of a level's channels that no part has; a spare class is not counted."""
    runs = []
    for index, conv in enumerate(level.convs):
        free = np.ones(conv.shape[1] + 2, bool)
        free[[0, -1]] = False
        for part in (part for part in used if part.conv == index):
            free[1 + part.first : 1 + part.first + part.count] = False
        edges = np.flatnonzero(np.diff(free.astype(np.int8)))
        runs += [ConvPart(index, int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    whole = {index: conv.shape[1] for index, conv in enumerate(level.convs)}
    return tuple(run for run in runs if run.count >= _FEWEST or run.count == whole[run.conv])


def find_extra(
    graph: GraphView,
    levels: Sequence[CellLevel],
    left: Sequence[ConvPart],
    starts: Sequence[int],
    tables: Sequence[CellTable],
) -> CellExtra | None:
    """Find the columns of the channels that boxes and scores leave.

    Args:
        graph: the graph.
        levels: finest first.
        left: of each level, the channels.
        starts: first row of each level.
        tables: of the graph.

    Returns:
        None where no table holds them by a known formula.
    """
    count = left[0].count
    if {part.count for part in left} != {count}:
        return None
    masks = [name for name in graph.outputs if is_map(graph, name) and graph.shape(name)[1] == count]
    raw = [part.of(level.noise) for part, level in zip(left, levels, strict=True)]
    if masks:
        found = _placed(tables, raw, starts, [1e-5] * len(levels))
        return None if found is None else CellExtra(tuple(left), *found, None, masks[0])
    if count % 2 or count < _FEWEST:
        return None
    for gain, offset in _POINT_FORMULAS:
        points = [_points(values, level, gain, offset) for values, level in zip(raw, levels, strict=True)]
        found = _placed(tables, points, starts, [1e-4 * level.stride for level in levels])
        if found is not None:
            return CellExtra(tuple(left), *found, KeypointLayout(count // 2, False, gain, offset), "")
    return None


def is_map(graph: GraphView, name: str) -> bool:
    """True for an output with a grid of its own, (1, C, H, W)."""
    shape = graph.shape(name)
    return len(shape) == 4 and min(shape[1:]) > 1


def prototypes_of(graph: GraphView, name: str) -> tuple[Tap, DecodedTensor]:
    """The prototypes of an output, as a tap and as the graph's own tensor."""
    n, c, h, w = graph.shape(name)
    tap = Tap(name, name, "prototypes", (n, c, h, w), graph.image_shape[2] // h, name=PROTOTYPES)
    return tap, DecodedTensor(PROTOTYPES, name, "linear")


def _points(raw: Values, level: CellLevel, gain: float, offset: float) -> Values:
    """Points x, y, x, y, ... in pixels, (count, cells), of raw channels in the same order."""
    y, x = (axis.ravel() for axis in np.indices(level.grid))
    cells = np.tile(np.stack((x, y)), (len(raw) // 2, 1))
    points: Values = ((raw.astype(np.float64) * gain + cells + offset) * level.stride).astype(np.float32)
    return points


def _placed(
    tables: Sequence[CellTable], expected: Sequence[Values], starts: Sequence[int], errors: Sequence[float]
) -> tuple[CellTable, int] | None:
    """The table with these columns and the first of them; the last table of the graph that has them."""
    count = len(expected[0])
    for table in tables:
        for first in range(len(table.values) - count + 1):
            columns = table.values[first : first + count]
            if all(
                same(columns[:, start : start + values.shape[1]], values, error)
                for start, values, error in zip(starts, expected, errors, strict=True)
            ):
                return table, first
    return None
