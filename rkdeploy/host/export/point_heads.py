"""Anchor-free heads of YOLOv5u to YOLO26 with their decode, as the trained models compute it in inference mode.

Source of the formulas: ultralytics.nn.modules.head (Detect, Segment, Pose, OBB and their successors) and
ultralytics.utils.tal (dist2bbox, dist2rbox).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AngleFormula, KeypointLayout
from rkdeploy.errors import GraphError
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, TapRole, Unit, keypoint_fields, row_fields

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PointMaps:
    """The raw tensors of one level, each (1, C, H, W).

    Attributes:
        path: of the head's module, with the level's number.
        stride: input pixels per cell.
        boxes: 4 * reg_max distribution logits, or the four distances.
        scores: class logits.
        extra: keypoints, mask coefficients or the angle; None for plain detection.
    """

    path: str
    stride: int
    boxes: Value
    scores: Value
    extra: Value | None


def point_decode(
    builder: GraphBuilder,
    path: str,
    levels: Sequence[PointMaps],
    *,
    end_to_end: bool = False,
    keypoints: KeypointLayout | None = None,
    angle: AngleFormula | None = None,
    masks: int = 0,
) -> tuple[Value, Head]:
    """Raw tensors to (1, 4 + classes + extra, rows), the trained head's output before any top-k or suppression.

    For a cell (cx, cy) of a level with stride t, the distances l, t', r, b in cells: x1 = (cx + 0.5 - l) t, and so on;
    boxes are center and size, or the corners if the head is end to end.  Rotated boxes: see `_rotated`.  Rows are
    ordered by level, cy, cx.

    Raises:
        GraphError: when the channels do not fit together.
    """
    order = sorted(range(len(levels)), key=lambda i: levels[i].stride)
    boxes = _flat(builder, path, [level.boxes for level in levels])
    scores = _flat(builder, path, [level.scores for level in levels])
    if boxes.channels % 4:
        raise GraphError(f'"{path}" has {boxes.channels} box channels, expected a multiple of 4.')
    bins = boxes.channels // 4
    centers, strides = _cells(levels)
    distances = _expected_distance(builder, path, boxes, bins) if bins > 1 else boxes
    tops = builder.add("Sigmoid", path, [scores], scores.shape)
    parts = [tops]
    extras = [level.extra for level in levels if level.extra is not None]
    extra = _flat(builder, path, extras) if extras else None
    turned = None
    if extra is not None and keypoints is not None:
        parts.append(_keypoints(builder, path, extra, keypoints, centers - 0.5, strides))
    elif extra is not None and angle is not None:
        turned = _angle(builder, path, extra, angle)
        parts.append(turned)
    elif extra is not None:
        parts.append(extra)
    if turned is not None:
        decoded = _rotated(builder, path, distances, turned, centers)
    else:
        decoded = _upright(builder, path, distances, centers, corners=end_to_end)
    decoded = builder.elementwise("Mul", path, decoded, strides)
    output = builder.concat(path, [decoded, *parts], 1)
    return output, _head(
        [levels[i] for i in order], order, scores.channels, bins,
        end_to_end=end_to_end, keypoints=keypoints, angle=angle, masks=masks,
    )  # fmt: skip


def _flat(builder: GraphBuilder, path: str, values: Sequence[Value]) -> Value:
    """The cells of all levels side by side: (1, C, rows)."""
    flat = [builder.reshape(path, v, (v.shape[0], v.channels, v.shape[2] * v.shape[3])) for v in values]
    return builder.concat(path, flat, 2) if len(flat) > 1 else flat[0]


def _cells(levels: Sequence[PointMaps]) -> tuple[Floats, Floats]:
    """Cell centers (1, 2, rows) in cells and strides (1, 1, rows), float32."""
    centers, strides = [], []
    for level in levels:
        height, width = level.boxes.shape[2:]
        cy, cx = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
        centers.append(np.stack((cx.ravel(), cy.ravel())) + np.float32(0.5))
        strides.append(np.full(height * width, level.stride, np.float32))
    return np.concatenate(centers, 1)[None], np.concatenate(strides)[None, None]


def _expected_distance(builder: GraphBuilder, path: str, boxes: Value, bins: int) -> Value:
    """Distribution Focal Loss: (1, 4 bins, rows) logits to the expected distance (1, 4, rows)."""
    n, _, rows = boxes.shape
    sides = builder.reshape(path, boxes, (n, 4, bins, rows))
    shares = builder.add("Softmax", path, [sides], sides.shape, {"axis": 2})
    weighted = builder.elementwise("Mul", path, shares, np.arange(bins, dtype=np.float32).reshape(1, 1, bins, 1))
    axis = builder.constant(f"{path}.bins", np.array([2], np.int64))
    return builder.add("ReduceSum", path, [weighted, axis], (n, 4, rows), {"keepdims": 0})


def _upright(builder: GraphBuilder, path: str, distances: Value, centers: Floats, *, corners: bool) -> Value:
    """Distances (1, 4, rows) to boxes in cells, x1 y1 x2 y2 or center and size."""
    lt, rb = builder.split(path, distances, [2, 2], 1)
    cell = builder.constant(f"{path}.centers", centers)
    low = builder.add("Sub", path, [cell, lt], lt.shape)
    high = builder.add("Add", path, [cell, rb], rb.shape)
    if corners:
        return builder.concat(path, [low, high], 1)
    middle = builder.elementwise("Mul", path, builder.elementwise("Add", path, low, high), 0.5)
    return builder.concat(path, [middle, builder.elementwise("Sub", path, high, low)], 1)


def _rotated(builder: GraphBuilder, path: str, distances: Value, angle: Value, centers: Floats) -> Value:
    """Distances to rotated boxes in cells.

    The distances are in the box's own, rotated axes: with (u, v) = (r - l, b - t) / 2 and the angle a, the center is
    (u cos a - v sin a, u sin a + v cos a) from the cell's, the size (l + r, t + b).
    """
    lt, rb = builder.split(path, distances, [2, 2], 1)
    half = builder.elementwise("Mul", path, builder.elementwise("Sub", path, rb, lt), 0.5)
    u, v = builder.split(path, half, [1, 1], 1)
    cos, sin = (builder.add(op, path, [angle], angle.shape) for op in ("Cos", "Sin"))
    times = [builder.elementwise("Mul", path, a, b) for a, b in ((u, cos), (v, sin), (u, sin), (v, cos))]
    x = builder.elementwise("Sub", path, times[0], times[1])
    y = builder.elementwise("Add", path, times[2], times[3])
    middle = builder.elementwise("Add", path, builder.concat(path, [x, y], 1), centers)
    return builder.concat(path, [middle, builder.elementwise("Add", path, lt, rb)], 1)


def _angle(builder: GraphBuilder, path: str, raw: Value, formula: AngleFormula) -> Value:
    value = builder.add("Sigmoid", path, [raw], raw.shape) if formula.sigmoid else raw
    if formula.gain != 1 or formula.offset:
        # In the order of the trained formula, (s - 0.25) pi, so that both round the same way.
        shifted = builder.elementwise("Add", path, value, formula.offset / formula.gain)
        value = builder.elementwise("Mul", path, shifted, formula.gain)
    return value


def _keypoints(
    builder: GraphBuilder, path: str, raw: Value, layout: KeypointLayout, cells: Floats, strides: Floats
) -> Value:
    """Keypoints (1, count * dimensions, rows) to pixels of the network input and visibilities, `KeypointLayout`."""
    n, channels, rows = raw.shape
    dimensions = 3 if layout.scored else 2
    if channels != layout.count * dimensions:
        raise GraphError(f'"{path}" has {channels} keypoint channels, expected {layout.count} x {dimensions}.')
    points = builder.reshape(path, raw, (n, layout.count, dimensions, rows))
    xy, *score = builder.split(path, points, [2, 1] if layout.scored else [2], 2)
    xy = builder.elementwise("Mul", path, xy, layout.gain) if layout.gain != 1 else xy
    xy = builder.elementwise("Add", path, xy, (cells + np.float32(layout.offset))[:, None])
    xy = builder.elementwise("Mul", path, xy, strides[:, None])
    visible = [builder.add("Sigmoid", path, [s], s.shape) for s in score]
    return builder.reshape(path, builder.concat(path, [xy, *visible], 2) if visible else xy, raw.shape)


def _head(
    levels: Sequence[PointMaps],
    order: Sequence[int],
    classes: int,
    bins: int,
    *,
    end_to_end: bool,
    keypoints: KeypointLayout | None,
    angle: AngleFormula | None,
    masks: int,
) -> Head:
    """The head in the contract's order, finest level first."""
    kinds: list[tuple[str, TapRole]] = [("boxes", "dfl_boxes" if bins > 1 else "ltrb_boxes"), ("scores", "scores")]
    if levels[0].extra is not None:
        kinds.append(("extra", "keypoints" if keypoints else "angles" if angle else "mask_coefficients"))
    taps = []
    for number, level in enumerate(levels):
        for attribute, role in kinds:
            value: Value = getattr(level, attribute)
            taps.append(Tap(value.name.removesuffix("_output_0"), value.name, role, four(value), level.stride, number))
    groups: dict[str, tuple[Unit, int]] = {"xy": ("px", 2), "wh": ("px", 2), "scores": ("score", classes)}
    fields = row_fields(groups | {"coefficients": ("value", masks), "angle": ("rad", 1 if angle else 0)})
    if keypoints is not None:
        fields += keypoint_fields(4 + classes, keypoints.count, 3 if keypoints.scored else 2)
    rows = DecodedRows(
        output="output0",
        fields=fields,
        columns_first=True,
        corners=end_to_end and angle is None,
        level_order=tuple(order.index(i) for i in range(len(order))),
        level_rows=tuple(level.boxes.shape[2] * level.boxes.shape[3] for level in levels),
    )
    return Head(tuple(taps), classes, masks, rows=rows, end_to_end=end_to_end, keypoints=keypoints, angle=angle)
