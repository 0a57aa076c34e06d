"""A network's head in its graph: the raw tensors that the NPU's part ends in, and the trained decode behind them.

These values are written by the exporter, which knows its own graph, and by the probes, which examine foreign ones.
`cut` ends the graph at the taps, `verify` reads the decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import (
    AnchorFormula,
    AngleFormula,
    AreaFormula,
    ClassMapSpec,
    DepthFormula,
    EmbeddingFormula,
    KeypointLayout,
    PointFormula,
    PriorFormula,
    TextFormula,
)
from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Activation, Anchors
from rkdeploy.device.postprocess.decoder import DenseField
from rkdeploy.errors import GraphError

TapRole = OutputRole | Literal["keypoints"]
"""A contract's role, or `keypoints`: x, y and score of each keypoint together, which `cut` separates."""
PROTOTYPES = "prototypes"
"""The contract's name of the tensor that mask coefficients combine."""
Unit = Literal["px", "score", "rad", "value"]


@dataclass(frozen=True, slots=True)
class Tap:
    """One raw tensor of the head.

    Attributes:
        node: name of the node that computes it, as the report shows it.
        tensor: its name in the graph.
        role: meaning of its channels.
        shape: (1, C, H, W).
        stride: input pixels per cell.
        level: index of the detection level, 0 the finest; 0 for a whole-image tensor.
        name: the contract's name of a whole-image tensor; empty for others, which `cut` names.
        channels: those of the tensor that are meant; None for all.
        subtracted: with `channels`, the channel that is subtracted from each (SSD's background from its classes).
        activation: of the graph, behind which the tap lies (`sigmoid`: a map of probabilities).
    """

    node: str
    tensor: str
    role: TapRole
    shape: tuple[int, int, int, int]
    stride: int
    level: int = 0
    name: str = ""
    channels: tuple[int, ...] | None = None
    subtracted: tuple[int, ...] = ()
    activation: Activation = "linear"


@dataclass(frozen=True, slots=True)
class DecodedField:
    """Columns of the decoded rows that hold one quantity.

    Attributes:
        name: as of `DenseField`.
        unit: of the values.
        columns: of the output.
        shares: the columns are shares of a softmax, the first of the background, which is left out.
    """

    name: str
    unit: Unit
    columns: tuple[int, ...]
    shares: bool = False


@dataclass(frozen=True, slots=True)
class DecodedTable:
    """A graph output with columns of the decoded rows.

    Attributes:
        output: name of the output.
        fields: the columns of a row.
        columns_first: (1, columns, rows) instead of (1, rows, columns).
    """

    output: str
    fields: tuple[DecodedField, ...]
    columns_first: bool


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """The graph output with all rows of the trained decode.

    Attributes:
        output: name of the output.
        fields: the columns of a row.
        columns_first: (1, columns, rows) instead of (1, rows, columns).
        corners: the `xy` and `wh` columns hold x1, y1, x2, y2 instead of center and size.
        level_order: the order in which the rows list the levels.
        level_rows: rows of each level, by level.
        others: outputs with further columns of the same rows, such as scores next to boxes.
        fractions_of: (width, height) in pixels where `xy`, `wh` and keypoints are fractions of the input; None where
            they are pixels.
        raw_scores: the `scores` columns are logits, of a sigmoid or of the softmax whose shares they are.
    """

    output: str
    fields: tuple[DecodedField, ...]
    columns_first: bool
    corners: bool
    level_order: tuple[int, ...]
    level_rows: tuple[int, ...]
    others: tuple[DecodedTable, ...] = ()
    fractions_of: tuple[int, int] | None = None
    raw_scores: bool = False

    @property
    def tables(self) -> tuple[DecodedTable, ...]:
        """All outputs with columns of the rows."""
        return (DecodedTable(self.output, self.fields, self.columns_first), *self.others)


@dataclass(frozen=True, slots=True)
class DecodedTensor:
    """A graph output that is a whole-image tap, up to an activation.

    Attributes:
        tap: name of the tap.
        output: name of the graph output.
        activation: activation between the two.
        normalized: the output is the tap divided by its length.
        side_by_side: the output has the tap's channels of a cell side by side, (..., cells, channels), instead of cell
            after cell per channel.
    """

    tap: str
    output: str
    activation: Activation
    normalized: bool = False
    side_by_side: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """A head.

    Attributes:
        taps: in the order of levels, finest first, and of roles within a level; whole-image tensors last.
        classes: number of classes.
        masks: mask coefficients per row, 0 for models without.
        anchors: anchors in pixels, finest level first; None for anchor-free heads, and for an anchor head whose graph
            has no decode and so does not contain them.
        anchors_per_level: of an anchor head, else 0.
        rows: the trained decode; None for a graph without one, and for classifiers.
        tensors: the trained graph's whole-image outputs.
        end_to_end, keypoints, angle, points, anchor_formula, prior_formula, class_maps, depth, embedding, areas, text:
            as in the contract.
        kind: family that the head belongs to by its structure; empty if several have such a head.
    """

    taps: tuple[Tap, ...]
    classes: int
    masks: int = 0
    anchors: Anchors | None = None
    anchors_per_level: int = 0
    rows: DecodedRows | None = None
    tensors: tuple[DecodedTensor, ...] = ()
    end_to_end: bool = False
    keypoints: KeypointLayout | None = None
    angle: AngleFormula | None = None
    points: PointFormula | None = None
    anchor_formula: AnchorFormula | None = None
    prior_formula: PriorFormula | None = None
    class_maps: tuple[ClassMapSpec, ...] = ()
    depth: DepthFormula | None = None
    embedding: EmbeddingFormula | None = None
    areas: AreaFormula | None = None
    text: TextFormula | None = None
    kind: str = ""

    @property
    def proves_decode(self) -> bool:
        """True if the graph has the trained decode of every tap."""
        has_rows = any(tap.name == "" for tap in self.taps)
        named = {tap.name for tap in self.taps if tap.name}
        return (self.rows is not None or not has_rows) and named == {t.tap for t in self.tensors}


def read_rows(rows: DecodedRows, outputs: Mapping[str, NDArray[np.float32]]) -> tuple[DenseField, ...]:
    """The decoded rows of one run, in the order of the contract's decoder: finest level first, center and size.

    Args:
        rows: layout of the graph's rows.
        outputs: of the graph, by name.

    Raises:
        GraphError: when the number of rows differs from the levels'.
    """
    values = {
        field.name: columns
        for table in rows.tables
        for field, columns in _read_table(table, rows, outputs[table.output])
    }
    if rows.corners:
        low, high = values["xy"], values["wh"]
        values |= {"xy": (low + high) / 2, "wh": high - low}
    if rows.fractions_of is not None:
        size = np.array(rows.fractions_of, np.float32)
        in_fractions = [name for name in ("xy", "wh", "keypoint_xy") if name in values]
        values |= {name: values[name] * np.tile(size, values[name].shape[1] // 2) for name in in_fractions}
    fields = [field for table in rows.tables for field in table.fields]
    scores = next((field for field in fields if field.name == "scores"), None)
    if rows.raw_scores:
        values["scores"] = _probabilities(values["scores"], shares=scores is not None and scores.shares)
    if scores is not None and scores.shares:
        values["scores"] = values["scores"][:, 1:]
    return tuple(DenseField(field.name, field.unit, values[field.name]) for field in fields)


def _probabilities(logits: NDArray[np.float32], *, shares: bool) -> NDArray[np.float32]:
    """Sigmoid of logits (rows, n), or the softmax of each row."""
    wide = logits.astype(np.float64)
    if not shares:
        return np.asarray(1 / (1 + np.exp(-wide)), np.float32)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _read_table(
    table: DecodedTable, rows: DecodedRows, values: NDArray[np.float32]
) -> list[tuple[DecodedField, NDArray[np.float32]]]:
    """The fields of one output, (rows, columns) each, finest level first."""
    found = as_table(values)
    found = found.T if table.columns_first else found
    sizes = [rows.level_rows[level] for level in rows.level_order]
    if found.shape[0] != sum(sizes):
        raise GraphError(f'"{table.output}" has {found.shape[0]} rows, expected {sum(sizes)} of its levels.')
    pieces = dict(zip(rows.level_order, np.split(found, np.cumsum(sizes)[:-1]), strict=True))
    found = np.concatenate([pieces[level] for level in range(len(sizes))])
    return [(field, found[:, list(field.columns)]) for field in table.fields]


def as_table(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """An output of rows without its axes of length 1, the last excepted: two axes remain of (1, n, m) and (1, n, 1, m).

    Raises:
        GraphError: when more than two axes remain.
    """
    while values.ndim > 2:
        single = [axis for axis in range(values.ndim - 1) if values.shape[axis] == 1]
        if not single:
            raise GraphError(f"The output of rows has shape {values.shape}, expected two axes longer than 1.")
        values = values.squeeze(single[0])
    return values


def row_fields(groups: Mapping[str, tuple[Unit, int]]) -> tuple[DecodedField, ...]:
    """Fields that lie side by side: name -> (unit, number of columns), in order."""
    fields = []
    start = 0
    for name, (unit, width) in groups.items():
        if width:
            fields.append(DecodedField(name, unit, tuple(range(start, start + width))))
        start += width
    return tuple(fields)


def keypoint_fields(first: int, count: int, dimensions: int) -> tuple[DecodedField, ...]:
    """Fields of interleaved keypoints, x y [score] x y [score] ..., from column `first`."""
    starts = [first + k * dimensions for k in range(count)]
    xy = DecodedField("keypoint_xy", "px", tuple(c for s in starts for c in (s, s + 1)))
    if dimensions == 2:
        return (xy,)
    return (xy, DecodedField("keypoint_scores", "score", tuple(s + 2 for s in starts)))
