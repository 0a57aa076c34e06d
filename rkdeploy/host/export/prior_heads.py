"""SSD's head with its decode, as RetinaFace's trainers compute it.

Source of the formulas: utils/box_utils.py of biubug6/Pytorch_Retinaface, `decode` and `decode_landm`, and
layers/functions/prior_box.py there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Anchors, KeypointLayout, PriorFormula
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
        scores: logits of the background and of the object.
        landmarks: x and y of each relative to the anchor.
    """

    stride: int
    boxes: Value
    scores: Value
    landmarks: Value


def prior_decode(
    builder: GraphBuilder, path: str, levels: Sequence[PriorLevel], anchors: Anchors, keypoints: KeypointLayout
) -> tuple[Value, Head]:
    """Raw tensors to (1, rows, 5 + 2 k): x1, y1, x2, y2 in input pixels, the score, x and y of the k landmarks.

    Rows are ordered by level, y, x, anchor.

    Args:
        builder: the graph.
        path: of the head.
        levels: finest first.
        anchors: of each level, in pixels.
        keypoints: of the landmarks, by anchors.

    Raises:
        GraphError: when the channels do not fit the anchors.
    """
    formula = PriorFormula(center_gain=keypoints.gain)
    count = keypoints.count
    for level, sides in zip(levels, anchors.levels_px, strict=True):
        found = (level.boxes.channels, level.scores.channels, level.landmarks.channels)
        expected = (4 * len(sides), 2 * len(sides), 2 * count * len(sides))
        if found != expected:
            raise GraphError(
                f'"{path}" has {found} channels at stride {level.stride}, expected {expected}: boxes, scores and '
                f"landmarks of {len(sides)} anchors."
            )
    parts = [
        builder.concat(path, [_listed(builder, path, value, fields) for value in values], 1)
        for values, fields in (
            ([level.boxes for level in levels], 4),
            ([level.scores for level in levels], 2),
            ([level.landmarks for level in levels], 2 * count),
        )
    ]
    center, size = _anchor_rows(levels, anchors)
    boxes = _corners(builder, path, parts[0], center, size, formula)
    shares = builder.add("Softmax", path, [parts[1]], parts[1].shape, {"axis": 2})
    _, score = builder.split(path, shares, [1, 1], 2)
    gain = np.tile(size * np.float32(keypoints.gain), count)
    points = builder.elementwise("Mul", path, parts[2], gain)
    points = builder.elementwise("Add", path, points, np.tile(center, count))
    rows = builder.concat(path, [boxes, score, points], 2)
    fields = row_fields({"xy": ("px", 2), "wh": ("px", 2), "scores": ("score", 1), "keypoint_xy": ("px", 2 * count)})
    sizes = tuple(
        level.boxes.shape[2] * level.boxes.shape[3] * len(sides)
        for level, sides in zip(levels, anchors.levels_px, strict=True)
    )
    table = DecodedRows(OUTPUT, fields, False, corners=True, level_order=tuple(range(len(sizes))), level_rows=sizes)
    taps = tuple(tap for number, level in enumerate(levels) for tap in _taps(level, number))
    return rows, Head(taps, 1, anchors=anchors, rows=table, keypoints=keypoints, prior_formula=formula)


def _listed(builder: GraphBuilder, path: str, value: Value, fields: int) -> Value:
    """(1, n * fields, H, W) as (1, H * W * n, fields)."""
    turned = builder.transpose(path, value, (0, 2, 3, 1))
    n, height, width, channels = turned.shape
    return builder.reshape(path, turned, (n, height * width * (channels // fields), fields))


def _anchor_rows(levels: Sequence[PriorLevel], anchors: Anchors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centers and sizes of all anchors in pixels, (1, rows, 2) each."""
    centers, sizes = [], []
    for level, sides in zip(levels, anchors.levels_px, strict=True):
        y, x, place = (axis.ravel() for axis in np.indices((*level.boxes.shape[2:], len(sides))))
        centers.append((np.stack((x, y), axis=1) + 0.5) * level.stride)
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


def _taps(level: PriorLevel, number: int) -> list[Tap]:
    """The raw tensors of a level; the score is that of the object less that of the background."""
    count = level.scores.channels // 2
    parts: tuple[tuple[TapRole, Value], ...] = (
        ("prior_boxes", level.boxes),
        ("scores", level.scores),
        ("keypoint_xy", level.landmarks),
    )
    taps = []
    for role, value in parts:
        scores = role == "scores"
        taps.append(
            Tap(
                value.name.removesuffix("_output_0"),
                value.name,
                role,
                four(value),
                level.stride,
                number,
                channels=tuple(range(1, 2 * count, 2)) if scores else None,
                subtracted=tuple(range(0, 2 * count, 2)) if scores else (),
            )
        )
    return taps
