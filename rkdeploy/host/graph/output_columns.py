"""Meaning of the columns of a graph's outputs: each traced to channels of the last convolutions behind it.

Outputs list cells as rows, (1, cells, fields) or (1, fields, cells), those of one level or of all, or as maps
(1, fields, H, W), or as the numbers of such maps one after the other in an output that only has the shape of rows (an
exporter that reshapes where it should transpose).  The graph behind the last convolutions is run on noise, and the
noise is looked for in the outputs: as it was given, or its sigmoid.  So names, the order of levels and that of columns
play no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.session import Session

_TOLERANCE = 1e-5  # float32's sigmoid on values up to 3
_MAX_OUTPUTS = 32
_MAX_CONVOLUTIONS = 32

Shown: TypeAlias = Literal["linear", "sigmoid", "product", "root", "stride", "exp stride"]
"""Content of a column: a channel; its sigmoid; that times the sigmoid of a convolution of one channel, or the root of
this product (PicoDet's quality); the channel times the stride, or its exp times the stride (RTMDet's distances).
"""
Layout: TypeAlias = Literal["rows", "columns", "maps"]
"""An output's numbers: (cells, fields), (fields, cells), or the levels' maps (fields, H, W) one after the other."""


@dataclass(frozen=True, slots=True)
class ColumnRange:
    """Neighboring columns of an output that show one convolution's neighboring channels, or nothing known.

    Attributes:
        conv: the convolution; None for columns that are computed otherwise.
        first: its first channel.
        count: number of channels, and of columns.
        activation: what the graph does to them.
        output: name of the graph's output.
        column: first column in it.
        partner: the convolution of one channel that scores are multiplied with.
    """

    conv: HeadConv | None
    first: int
    count: int
    activation: Shown
    output: str
    column: int
    partner: HeadConv | None = None


@dataclass(frozen=True, slots=True)
class TracedLevel:
    """One level of the head.

    Attributes:
        stride: input pixels per cell.
        convs: last convolutions of the level.
        pieces: in the order of outputs and columns.
        starts: by output, the row at which the level's cells begin.
    """

    stride: int
    convs: tuple[HeadConv, ...]
    pieces: tuple[ColumnRange, ...]
    starts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TracedOutputs:
    """The outputs of a graph.

    Attributes:
        levels: finest first.
        noise: what the convolutions were given, by tensor, (C, cells).
        tables: what the outputs then were, by name, (fields, rows).
        layouts: of the outputs, by name.
    """

    levels: tuple[TracedLevel, ...]
    noise: Mapping[str, NDArray[np.float32]]
    tables: Mapping[str, NDArray[np.float32]]
    layouts: Mapping[str, Layout]

    def rows_of(self, level: TracedLevel, output: str) -> NDArray[np.float32]:
        """A level's part of an output, (fields, cells)."""
        start = level.starts[output]
        cells = level.convs[0].shape[2] * level.convs[0].shape[3]
        return self.tables[output][:, start : start + cells]


def trace_columns(graph: GraphView, outputs: Sequence[str]) -> TracedOutputs | None:
    """Trace the outputs of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        The traced columns; None when an output is not a list of cells in which a convolution shows.
    """
    ranks = {len(graph.shape(name)) for name in outputs}
    if not 0 < len(outputs) <= _MAX_OUTPUTS or ranks - {2, 3, 4} or (2 in ranks and len(outputs) == 1):
        return None
    try:
        convs = last_convolutions(graph, outputs)
        given, shown = _on_noise(graph, convs, outputs)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if len(convs) > _MAX_CONVOLUTIONS:
        return None
    levels = [[conv for conv in convs if conv.stride == stride] for stride in sorted({c.stride for c in convs})]
    tables: dict[str, NDArray[np.float32]] = {}
    found: list[tuple[int, str, int, list[ColumnRange]]] = []
    layouts: dict[str, Layout] = {}
    for name in outputs:
        for layout, table in _tables(shown[name], levels):
            parts = _split(name, table, levels, given)
            if parts is not None:
                tables[name], layouts[name] = table, layout
                found += [(level, name, start, pieces) for level, start, pieces in parts]
                break
        else:
            return None
    traced = [
        TracedLevel(
            convs[0].stride,
            tuple(convs),
            tuple(piece for level, _, _, pieces in found if level == number for piece in pieces),
            {name: start for level, name, start, _ in found if level == number},
        )
        for number, convs in enumerate(levels)
    ]
    return TracedOutputs(tuple(traced), given, tables, layouts)


def _on_noise(
    graph: GraphView, convs: Sequence[HeadConv], outputs: Sequence[str]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Noise from -3 to 3 for each convolution, (C, cells), and the outputs that it gives."""
    rng = np.random.default_rng(0)
    noise = {c.tensor: rng.uniform(-3, 3, c.shape).astype(np.float32) for c in convs}
    computed = [name for name in outputs if name not in noise]
    shown = {name: values for name, values in noise.items() if name in outputs}
    if computed:
        shown |= Session(tail(graph, convs, *computed)).run(noise)
    rows = {name: values[np.newaxis] if values.ndim == 2 else values for name, values in shown.items()}
    return {name: values.reshape(values.shape[1], -1) for name, values in noise.items()}, rows


def _tables(
    values: NDArray[np.float32], levels: Sequence[Sequence[HeadConv]]
) -> list[tuple[Layout, NDArray[np.float32]]]:
    """The ways to read an output as (fields, rows)."""
    if values.shape[0] != 1:
        return []
    if values.ndim == 4:
        return [("columns", values[0].reshape(values.shape[1], -1))]
    found: list[tuple[Layout, NDArray[np.float32]]] = [("rows", values[0].T), ("columns", values[0])]
    cells = [convs[0].shape[2] * convs[0].shape[3] for convs in levels]
    if sum(cells) == values.shape[1]:
        fields = values.shape[2]
        maps = np.split(values.ravel(), np.cumsum(cells)[:-1] * fields)
        found.append(("maps", np.concatenate([part.reshape(fields, -1) for part in maps], axis=1)))
    return found


def _split(
    name: str,
    table: NDArray[np.float32],
    levels: Sequence[Sequence[HeadConv]],
    given: Mapping[str, NDArray[np.float32]],
) -> list[tuple[int, int, list[ColumnRange]]] | None:
    """The levels one after the other in a table: number, first row, pieces; None where a row belongs to none."""
    parts: list[tuple[int, int, list[ColumnRange]]] = []
    start = 0
    while start < table.shape[1]:
        for number, convs in enumerate(levels):
            cells = convs[0].shape[2] * convs[0].shape[3]
            if any(number == done for done, _, _ in parts) or start + cells > table.shape[1]:
                continue
            pieces = _pieces(name, table[:, start : start + cells], convs, given)
            if any(piece.conv is not None for piece in pieces):
                parts.append((number, start, pieces))
                start += cells
                break
        else:
            return None
    return parts


def _pieces(
    name: str, rows: NDArray[np.float32], convs: Sequence[HeadConv], given: Mapping[str, NDArray[np.float32]]
) -> list[ColumnRange]:
    """The columns (fields, cells) of one level, neighbors of one convolution together."""
    found = _joined([_piece(name, column, values, convs, given) for column, values in enumerate(rows)])
    of_pixels = [piece.activation in ("stride", "exp stride") and piece.count != 4 for piece in found]
    if not any(of_pixels):
        return found
    # Sizes of a decoded box look like two of four distances.
    unknown = [
        ColumnRange(None, 0, piece.count, "linear", name, piece.column) if known else piece
        for piece, known in zip(found, of_pixels, strict=True)
    ]
    return _joined(unknown)


def _joined(columns: Sequence[ColumnRange]) -> list[ColumnRange]:
    """Neighbors of one convolution, and neighbors of none, together."""
    pieces: list[ColumnRange] = []
    for piece in columns:
        if pieces and _goes_on(pieces[-1], piece):
            pieces[-1] = replace(pieces[-1], count=pieces[-1].count + piece.count)
        else:
            pieces.append(piece)
    return pieces


def _goes_on(piece: ColumnRange, column: ColumnRange) -> bool:
    """True if a column is the next one of a piece."""
    same = (piece.conv, piece.activation, piece.partner) == (column.conv, column.activation, column.partner)
    return same and (piece.conv is None or column.first == piece.first + piece.count)


def _piece(
    name: str,
    column: int,
    values: NDArray[np.float32],
    convs: Sequence[HeadConv],
    given: Mapping[str, NDArray[np.float32]],
) -> ColumnRange:
    """One column."""
    for conv in convs:
        for shown, partner in _ways(conv, convs):
            raw = given[conv.tensor]
            first = _shown(raw[:, :1], shown, partner, conv.stride, given)[:, 0]
            for channel in np.flatnonzero(_same(first, values[0])).tolist():
                whole = _shown(raw[channel : channel + 1], shown, partner, conv.stride, given)
                if _same(whole[0], values).all():
                    return ColumnRange(conv, channel, 1, shown, name, column, partner)
    return ColumnRange(None, 0, 1, "linear", name, column)


def _ways(conv: HeadConv, convs: Sequence[HeadConv]) -> Iterator[tuple[Shown, HeadConv | None]]:
    """Contents that a column may have of a convolution's channels, with the other convolution of one channel."""
    yield "linear", None
    yield "sigmoid", None
    if conv.shape[1] == 4:
        yield "stride", None
        yield "exp stride", None
    for partner in convs:
        if partner is not conv and partner.shape[1] == 1:
            yield "product", partner
            yield "root", partner


def _shown(
    raw: NDArray[np.float32],
    shown: Shown,
    partner: HeadConv | None,
    stride: int,
    given: Mapping[str, NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Columns (n, cells) that show the channels `raw`, of which the first cells alone may be given."""
    if shown == "linear":
        return raw
    if shown in ("stride", "exp stride"):
        return (raw if shown == "stride" else np.exp(raw)) * np.float32(stride)
    scores = 1 / (1 + np.exp(-raw))
    if partner is not None:
        scores = scores / (1 + np.exp(-given[partner.tensor][:, : raw.shape[1]]))
    return np.sqrt(scores) if shown == "root" else scores


def _same(one: NDArray[np.float32], other: NDArray[np.float32] | np.float32) -> NDArray[np.bool_]:
    """Mask of the values that agree: 1e-5 is allowed, and as much of values above 1."""
    equal: NDArray[np.bool_] = np.abs(one - other) <= _TOLERANCE * np.maximum(1, np.abs(other))
    return equal
