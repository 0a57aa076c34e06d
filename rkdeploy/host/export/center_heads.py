"""Anchor-free heads of centers and logarithms of sizes with their decode, as the trained models compute it.

Source of the formula: yolox/models/yolo_head.py of Megvii-BaseDetection/YOLOX, `decode_outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, TapRole, row_fields

OUTPUT = "output"
"""Upstream's name of the decoded rows."""


@dataclass(frozen=True, slots=True)
class CenterLevel:
    """The raw tensors of one level, each (1, C, H, W).

    Attributes:
        path: of the level.
        stride: input pixels per cell.
        boxes: x, y of the center from the cell's corner, in cells; logarithms of width and height in cells.
        objectness: one logit.
        scores: class logits.
    """

    path: str
    stride: int
    boxes: Value
    objectness: Value
    scores: Value


def center_decode(builder: GraphBuilder, path: str, levels: Sequence[CenterLevel], kind: str) -> tuple[Value, Head]:
    """Raw tensors to (1, rows, 5 + classes): x, y, w, h in input pixels, objectness and class probabilities.

    For a cell (cx, cy) of a level with stride t: x = (raw + cx) t, w = exp(raw) t, y and h alike.  Rows are ordered by
    level, cy, cx.

    Args:
        builder: the graph.
        path: of the head.
        levels: finest first.
        kind: family of the head, which `Head.kind` names.

    Raises:
        GraphError: when the channels do not fit together.
    """
    classes = {level.scores.channels for level in levels}
    if len(classes) != 1 or any((level.boxes.channels, level.objectness.channels) != (4, 1) for level in levels):
        raise GraphError(f'"{path}" has levels of other channels than 4 of boxes, 1 of objectness and its classes.')
    count = classes.pop()
    rows = [_level_rows(builder, level) for level in levels]
    decoded = builder.concat(path, rows, 1)
    fields = row_fields({"xy": ("px", 2), "wh": ("px", 2), "objectness": ("score", 1), "scores": ("score", count)})
    sizes = tuple(level.boxes.shape[2] * level.boxes.shape[3] for level in levels)
    table = DecodedRows(OUTPUT, fields, False, corners=False, level_order=tuple(range(len(sizes))), level_rows=sizes)
    return decoded, Head(_taps(levels), count, rows=table, points=PointFormula(0.0, "product"), kind=kind)


def _level_rows(builder: GraphBuilder, level: CenterLevel) -> Value:
    """The decoded rows of one level, (1, H W, 5 + classes)."""
    path = level.path
    n, _, height, width = level.boxes.shape
    parts = [level.boxes]
    parts += [builder.add("Sigmoid", path, [value], value.shape) for value in (level.objectness, level.scores)]
    joined = builder.concat(path, parts, 1)
    cells = builder.transpose(path, builder.reshape(path, joined, (n, joined.channels, height * width)), (0, 2, 1))
    xy, wh, scores = builder.split(path, cells, [2, 2, joined.channels - 4], 2)
    grid = np.indices((height, width), np.float32)[::-1].reshape(2, -1).T[None]
    xy = builder.elementwise("Add", path, xy, np.ascontiguousarray(grid))
    xy = builder.elementwise("Mul", path, xy, float(level.stride))
    wh = builder.elementwise("Mul", path, builder.add("Exp", path, [wh], wh.shape), float(level.stride))
    return builder.concat(path, [xy, wh, scores], 2)


def _taps(levels: Sequence[CenterLevel]) -> tuple[Tap, ...]:
    """The raw tensors in the contract's order."""
    taps = []
    for number, level in enumerate(levels):
        parts: tuple[tuple[TapRole, Value], ...] = (
            ("center_boxes", level.boxes),
            ("scores", level.scores),
            ("objectness", level.objectness),
        )
        for role, value in parts:
            taps.append(Tap(value.name.removesuffix("_output_0"), value.name, role, four(value), level.stride, number))
    return tuple(taps)
