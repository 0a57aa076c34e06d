"""SSD's head with its decode, as RetinaFace's trainers compute it.

Source of the formulas: utils/box_utils.py of biubug6/Pytorch_Retinaface, `decode` and `decode_landm`, and
layers/functions/prior_box.py there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout, PointFormula, PriorFormula
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, TapRole, row_fields

OUTPUT = "output0"


@dataclass(frozen=True, slots=True)
class PriorLevel:
    """The raw tensors of one level, each (1, n * fields, H, W) of n anchors per cell.

    Attributes:
        stride: input pixels per cell.
        boxes: center and size relative to the anchor.
        scores: logits of the background and of the classes.
        landmarks: x and y of each relative to the anchor; None for boxes alone.
    """

    stride: int
    boxes: Value
    scores: Value
    landmarks: Value | None


def prior_decode(
    builder: GraphBuilder,
    path: str,
    levels: Sequence[PriorLevel],
    anchors: Anchors,
    keypoints: KeypointLayout | None,
    classes: int = 1,
    steps_px: tuple[tuple[float, float], ...] = (),
) -> tuple[Value, Head]:
    """Raw tensors to (1, rows, 4 + nc + 2 k): x1, y1, x2, y2 in input pixels, the scores, x and y of the k landmarks.

    Rows are ordered by level, y, x, anchor.

    Args:
        builder: the graph.
        path: of the head.
        levels: finest first.
        anchors: of each level, in pixels.
        keypoints: of the landmarks, by anchors; None without any.
        classes: number of classes without the background.
        steps_px: step from cell to cell of each level, see `PriorFormula`; empty for the strides.

    Raises:
        GraphError: when the channels do not fit the anchors.
    """
    count = keypoints.count if keypoints is not None else 0
    formula = PriorFormula(steps_px=steps_px)
    _require_channels(path, levels, anchors, classes, count)
    boxes, scores = (
        builder.concat(path, [_listed(builder, path, value, fields) for value in values], 1)
        for values, fields in (
            ([level.boxes for level in levels], 4),
            ([level.scores for level in levels], 1 + classes),
        )
    )
    center, size = _anchor_rows(levels, anchors, formula)
    shares = builder.add("Softmax", path, [scores], scores.shape, {"axis": 2})
    _, score = builder.split(path, shares, [1, classes], 2)
    parts = [_corners(builder, path, boxes, center, size, formula), score]
    if keypoints is not None:
        listed = [_listed(builder, path, level.landmarks, 2 * count) for level in levels if level.landmarks is not None]
        points = builder.concat(path, listed, 1)
        points = builder.elementwise("Mul", path, points, np.tile(size * np.float32(keypoints.gain), count))
        parts.append(builder.elementwise("Add", path, points, np.tile(center, count)))
    rows = builder.concat(path, parts, 2)
    fields = row_fields(
        {"xy": ("px", 2), "wh": ("px", 2), "scores": ("score", classes), "keypoint_xy": ("px", 2 * count)}
    )
    sizes = tuple(
        level.boxes.shape[2] * level.boxes.shape[3] * len(sides)
        for level, sides in zip(levels, anchors.levels_px, strict=True)
    )
    table = DecodedRows(OUTPUT, fields, False, corners=True, level_order=tuple(range(len(sizes))), level_rows=sizes)
    taps = tuple(tap for number, level in enumerate(levels) for tap in _taps(level, number, classes))
    shared = PointFormula(score="softmax") if classes > 1 else None
    return rows, Head(
        taps, classes, anchors=anchors, rows=table, keypoints=keypoints, points=shared, prior_formula=formula
    )


def _require_channels(path: str, levels: Sequence[PriorLevel], anchors: Anchors, classes: int, points: int) -> None:
    """Check that every level has boxes, scores and landmarks for its anchors.

    Raises:
        GraphError: when it does not.
    """
    for level, sides in zip(levels, anchors.levels_px, strict=True):
        parts = (level.boxes, level.scores, level.landmarks)
        found = tuple(part.channels for part in parts if part is not None)
        fields = (4, 1 + classes, 2 * points)[: 3 if points else 2]
        expected = tuple(n * len(sides) for n in fields)
        if found != expected:
            raise GraphError(
                f'"{path}" has {found} channels at stride {level.stride}, expected {expected}: boxes, scores and '
                f"landmarks of {len(sides)} anchors."
            )


def _listed(builder: GraphBuilder, path: str, value: Value, fields: int) -> Value:
    """(1, n * fields, H, W) as (1, H * W * n, fields)."""
    turned = builder.transpose(path, value, (0, 2, 3, 1))
    n, height, width, channels = turned.shape
    return builder.reshape(path, turned, (n, height * width * (channels // fields), fields))


def _anchor_rows(
    levels: Sequence[PriorLevel], anchors: Anchors, formula: PriorFormula
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centers and sizes of all anchors in pixels, (1, rows, 2) each."""
    centers, sizes = [], []
    steps = formula.steps_px or tuple((level.stride, level.stride) for level in levels)
    for level, sides, step in zip(levels, anchors.levels_px, steps, strict=True):
        y, x, place = (axis.ravel() for axis in np.indices((*level.boxes.shape[2:], len(sides))))
        centers.append((np.stack((x, y), axis=1) + 0.5) * np.array(step))
        sizes.append(np.array(sides)[place])
    center, size = (np.concatenate(parts)[None].astype(np.float32) for parts in (centers, sizes))
    return center, size


def _corners(
    builder: GraphBuilder,
    path: str,
    raw: Value,
    center: NDArray[np.float32],
    size: NDArray[np.float32],
    formula: PriorFormula,
) -> Value:
    """Raw boxes, (1, rows, 4), to x1, y1, x2, y2 in pixels."""
    xy, wh = builder.split(path, raw, [2, 2], 2)
    xy = builder.elementwise("Mul", path, xy, size * np.float32(formula.center_gain))
    xy = builder.elementwise("Add", path, xy, center)
    wh = builder.elementwise("Mul", path, wh, formula.size_gain)
    wh = builder.elementwise("Mul", path, builder.add("Exp", path, [wh], wh.shape), size)
    half = builder.elementwise("Mul", path, wh, 0.5)
    return builder.concat(path, [builder.elementwise(op, path, xy, half) for op in ("Sub", "Add")], 2)


def _taps(level: PriorLevel, number: int, classes: int) -> list[Tap]:
    """The raw tensors of a level; a score is that of its class less that of the background."""
    starts = range(0, level.scores.channels, 1 + classes)
    parts: tuple[tuple[TapRole, Value | None], ...] = (
        ("prior_boxes", level.boxes),
        ("scores", level.scores),
        ("keypoint_xy", level.landmarks),
    )
    taps = []
    for role, value in parts:
        if value is None:
            continue
        scores = role == "scores"
        taps.append(
            Tap(
                value.name.removesuffix("_output_0"),
                value.name,
                role,
                four(value),
                level.stride,
                number,
                channels=tuple(start + 1 + n for start in starts for n in range(classes)) if scores else None,
                subtracted=tuple(start for start in starts for _ in range(classes)) if scores else (),
            )
        )
    return taps
