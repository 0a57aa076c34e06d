"""Nodes that decode a head in the graph: boxes, scores and the rest of all levels' rows, one behind the other.

Formulas: those of `rkdeploy.device.postprocess.point_decode` and `anchor_decode`, whose sources are named there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import HeadOutput, OutputPart
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.forms.head_levels import Level, levels_of, strides_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import Activation, ModelSpec
    from rkdeploy.host.graph.forms.form_graph import FormGraph


@dataclass(frozen=True, slots=True)
class FormRow:
    """One quantity of all rows.

    Attributes:
        tensor: (1, C, N).
        channels: C.
        roles: of the channels: each with the channels' indices and what the graph has applied.
    """

    tensor: str
    channels: int
    roles: tuple[OutputPart, ...]


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """All rows of a head.

    Attributes:
        rows: boxes first, then scores, then the others in the order that Ultralytics has.
        count: number of rows.
        level_strides: as in the contract; a level with anchors counts once per anchor.
    """

    rows: tuple[FormRow, ...]
    count: int
    level_strides: tuple[int, ...]


def decoded_rows(writer: FormGraph, spec: ModelSpec, *, fractions: bool) -> JoinedRows:
    """Append the nodes that decode a head.

    Args:
        writer: of the graph, cut with anchors' boxes, sizes and scores apart.
        spec: contract of that graph.
        fractions: whether coordinates are fractions of the input's sides, instead of pixels.

    Raises:
        GraphError: for a head that is not decoded here.
    """
    levels = levels_of(spec)
    unit = np.array([spec.input.width, spec.input.height], np.float32) if fractions else np.ones(2, np.float32)
    if levels and "anchor_xy" in levels[0]:
        return _AnchorRows(writer, spec, levels, unit).rows()
    return _PointRows(writer, spec, levels, unit).rows()


def joined_rows(writer: FormGraph, rows: JoinedRows, name: str, first: HeadOutput) -> HeadOutput:
    """One output of all quantities side by side, (1, C, N).

    Args:
        writer: of the graph.
        rows: of the head.
        name: of the output.
        first: any output of the head.
    """
    writer.node("Concat", [row.tensor for row in rows.rows], name, axis=1)
    parts: list[OutputPart] = []
    start = 0
    for row in rows.rows:
        parts += [replace(part, channels=tuple(start + channel for channel in part.channels)) for part in row.roles]
        start += row.channels
    return HeadOutput(
        name, "joined", 0, first.stride, (1, start, rows.count), parts=tuple(parts), level_strides=rows.level_strides
    )


def _row(tensor: str, channels: int, role: OutputRole, activation: Activation = "linear") -> FormRow:
    return FormRow(tensor, channels, (OutputPart(role, tuple(range(channels)), activation),))


class _PointRows:
    """Rows of an anchor-free head."""

    def __init__(
        self, writer: FormGraph, spec: ModelSpec, levels: tuple[Level, ...], unit: NDArray[np.float32]
    ) -> None:
        _require_points(spec, levels)
        self._writer, self._spec, self._levels = writer, spec, levels
        self._cells = [level["scores"].shape[2] * level["scores"].shape[3] for level in levels]
        grids = []
        for level in levels:
            y, x = np.indices(level["scores"].shape[2:]).reshape(2, -1)
            grids.append(np.stack((x, y)))
        self._grid = np.concatenate(grids, axis=1).astype(np.float32)  # (2, N), in cells
        strides = np.repeat(np.array(strides_of(levels), np.float32), self._cells)
        self._scale = strides / unit[:, None]  # (2, N): units of the output per cell
        self._offset = np.float32(spec.points.offset if spec.points is not None else 0.5)

    def rows(self) -> JoinedRows:
        """All quantities."""
        rows = [_row(self._boxes(), 4, "decoded_boxes"), self._scores()]
        first = self._levels[0]
        if "mask_coefficients" in first:
            rows.append(_row(self._flat("mask_coefficients"), first["mask_coefficients"].shape[1], "mask_coefficients"))
        if "angles" in first:
            rows.append(_row(self._angles(), 1, "angles"))
        if "keypoint_xy" in first:
            rows.append(self._keypoints())
        return JoinedRows(tuple(rows), self._grid.shape[1], strides_of(self._levels))

    def _flat(self, role: str) -> str:
        """A role's channels of all levels, (1, C, N)."""
        parts = [level[role] for level in self._levels]
        shapes = [(1, part.shape[1], part.shape[2] * part.shape[3]) for part in parts]
        flat = [self._writer.reshape(part.name, shape) for part, shape in zip(parts, shapes, strict=True)]
        return self._writer.node("Concat", flat, axis=2) if len(flat) > 1 else flat[0]

    def _boxes(self) -> str:
        """Center and size, (1, 4, N)."""
        writer = self._writer
        if "center_boxes" in self._levels[0]:
            xy, wh = writer.halves(self._flat("center_boxes"))
            moved = writer.node("Add", [xy, writer.constant((self._grid + self._offset)[None])])
            both = writer.node("Concat", [moved, writer.node("Exp", [wh])], axis=1)
            return writer.node("Mul", [both, writer.constant(np.tile(self._scale, (2, 1))[None])])
        distances = self._bins() if "dfl_boxes" in self._levels[0] else self._flat("ltrb_boxes")
        low, high = writer.halves(distances)
        size = writer.node("Add", [low, high])
        shift = writer.node("Mul", [writer.node("Sub", [high, low]), writer.constant(0.5)])
        if self._spec.angle is not None:
            shift = self._turned(shift)
        center = writer.node("Add", [shift, writer.constant((self._grid + self._offset)[None])])
        both = writer.node("Concat", [center, size], axis=1)
        return writer.node("Mul", [both, writer.constant(np.tile(self._scale, (2, 1))[None])])

    def _bins(self) -> str:
        """Distances as the expectations of their bins, (1, 4, N)."""
        writer, count = self._writer, self._grid.shape[1]
        bins = self._levels[0]["dfl_boxes"].shape[1] // 4
        apart = writer.reshape(self._flat("dfl_boxes"), (1, 4, bins, count))
        shares = writer.node("Softmax", [writer.node("Transpose", [apart], perm=[0, 2, 1, 3])], axis=1)
        numbers = np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)
        means = writer.node("Conv", [shares, writer.constant(numbers)], kernel_shape=[1, 1])
        return writer.reshape(means, (1, 4, count))

    def _turned(self, shift: str) -> str:
        """The way from the cell to the center of a rotated box, turned by its angle."""
        writer = self._writer
        angle = self._angles()
        x, y = writer.halves(shift, 1)
        cos, sin = writer.node("Cos", [angle]), writer.node("Sin", [angle])
        new_x = writer.node("Sub", [writer.node("Mul", [x, cos]), writer.node("Mul", [y, sin])])
        new_y = writer.node("Add", [writer.node("Mul", [x, sin]), writer.node("Mul", [y, cos])])
        return writer.node("Concat", [new_x, new_y], axis=1)

    def _angles(self) -> str:
        """Angles in radians, (1, 1, N)."""
        writer, formula = self._writer, self._spec.angle
        assert formula is not None
        raw = self._flat("angles")
        value = writer.node("Sigmoid", [raw]) if formula.sigmoid else raw
        moved = writer.node("Add", [value, writer.constant(float(formula.offset / formula.gain))])
        return writer.node("Mul", [moved, writer.constant(float(formula.gain))])

    def _scores(self) -> FormRow:
        """Probabilities, (1, nc, N); with objectness, their product with it."""
        scores = self._flat("scores")
        if "objectness" in self._levels[0]:
            objectness = self._flat("objectness")
            if self._levels[0]["objectness"].activation == "linear":
                objectness = self._writer.node("Sigmoid", [objectness])
            scores = self._writer.node("Mul", [scores, objectness])
        return _row(scores, len(self._spec.class_names), "scores", "sigmoid")

    def _keypoints(self) -> FormRow:
        """x, y and where there is one the score of each keypoint in turn, (1, K * 2 or 3, N)."""
        writer, layout, cells = self._writer, self._spec.keypoints, self._grid.shape[1]
        assert layout is not None
        count = layout.count
        raw = writer.reshape(self._flat("keypoint_xy"), (1, count, 2, cells))
        scaled = writer.node("Mul", [raw, writer.constant(float(layout.gain))])
        moved = writer.node("Add", [scaled, writer.constant((self._grid + np.float32(layout.offset))[None, None])])
        xy = writer.node("Mul", [moved, writer.constant(self._scale[None, None])])
        if not layout.scored:
            return _row(writer.reshape(xy, (1, 2 * count, cells)), 2 * count, "keypoint_xy")
        scores = self._flat("keypoint_scores")
        if self._levels[0]["keypoint_scores"].activation == "linear":
            scores = writer.node("Sigmoid", [scores])
        both = writer.node("Concat", [xy, writer.reshape(scores, (1, count, 1, cells))], axis=2)
        starts = range(0, 3 * count, 3)
        roles = (
            OutputPart("keypoint_xy", tuple(start + i for start in starts for i in (0, 1))),
            OutputPart("keypoint_scores", tuple(start + 2 for start in starts), "sigmoid"),
        )
        return FormRow(writer.reshape(both, (1, 3 * count, cells)), 3 * count, roles)


class _AnchorRows:
    """Rows of an anchor head with YOLOv5's formula, in the order level, anchor, cell."""

    def __init__(
        self, writer: FormGraph, spec: ModelSpec, levels: tuple[Level, ...], unit: NDArray[np.float32]
    ) -> None:
        if spec.anchors is None or spec.anchor_formula is not None or spec.keypoints is not None:
            raise GraphError("An anchor head with other formulas than YOLOv5's is not decoded in the graph.")
        self._writer, self._spec, self._levels, self._unit = writer, spec, levels, unit

    def rows(self) -> JoinedRows:
        """Boxes and scores."""
        assert self._spec.anchors is not None
        boxes, scores, strides, count = [], [], [], 0
        for level, anchors in zip(self._levels, self._spec.anchors.levels_px, strict=True):
            stride, (height, width) = level["anchor_xy"].stride, level["anchor_xy"].shape[2:]
            boxes.append(self._level_boxes(level, anchors))
            scores.append(self._level_scores(level, len(anchors)))
            strides += [stride] * len(anchors)
            count += len(anchors) * height * width
        both = [self._writer.node("Concat", parts, axis=2) for parts in (boxes, scores)]
        rows = (
            _row(both[0], 4, "decoded_boxes"),
            _row(both[1], len(self._spec.class_names), "scores", "sigmoid"),
        )
        return JoinedRows(rows, count, tuple(strides))

    def _apart(self, output: HeadOutput, anchors: int, first: int, end: int) -> str:
        """Fields `first` to `end` - 1 of each anchor, (1, fields, anchors * cells)."""
        writer, cells = self._writer, output.shape[2] * output.shape[3]
        fields = output.shape[1] // anchors
        apart = writer.reshape(output.name, (1, anchors, fields, cells))
        turned = writer.node("Transpose", [apart], perm=[0, 2, 1, 3])
        flat = writer.reshape(turned, (1, fields, anchors * cells))
        return flat if (first, end) == (0, fields) else writer.part(flat, first, end)

    def _level_boxes(self, level: Level, anchors: Sequence[tuple[float, float]]) -> str:
        writer, output, count = self._writer, level["anchor_xy"], len(anchors)
        height, width = output.shape[2:]
        y, x = np.indices((height, width)).reshape(2, -1)
        grid = np.tile(np.stack((x, y)) - 0.5, (1, count)).astype(np.float32)
        sizes = np.repeat(np.array(anchors, np.float32).T, height * width, axis=1) / self._unit[:, None]
        doubled = [
            writer.node("Mul", [self._apart(level[role], count, 0, 2), writer.constant(2.0)])
            for role in ("anchor_xy", "anchor_wh")
        ]
        moved = writer.node("Add", [doubled[0], writer.constant(grid[None])])
        scale = (np.float32(output.stride) / self._unit)[None, :, None]
        center = writer.node("Mul", [moved, writer.constant(scale)])
        square = writer.node("Mul", [doubled[1], doubled[1]])
        return writer.node("Concat", [center, writer.node("Mul", [square, writer.constant(sizes[None])])], axis=1)

    def _level_scores(self, level: Level, anchors: int) -> str:
        output, classes = level["anchor_scores"], len(self._spec.class_names)
        objectness = self._apart(output, anchors, 0, 1)
        return self._writer.node("Mul", [self._apart(output, anchors, 1, 1 + classes), objectness])


def _require_points(spec: ModelSpec, levels: tuple[Level, ...]) -> None:
    """Check that an anchor-free head has formulas that are decoded here.

    Raises:
        GraphError: naming what it has.
    """
    known = {"dfl_boxes", "ltrb_boxes", "center_boxes"}
    points = spec.points
    usual = points is None or (points.per_cell, points.distance, points.score) == (1, "linear", "product")
    if not levels or "scores" not in levels[0] or not known & set(levels[0]) or not usual:
        roles = ", ".join(sorted({role for level in levels for role in level})) or spec.task
        raise GraphError(f"A head of {roles} is not decoded in the graph.")
