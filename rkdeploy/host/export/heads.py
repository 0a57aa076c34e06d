"""Anchor heads with their decode, as the trained models compute it in inference mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layers
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, row_fields


def anchor_detect(
    builder: GraphBuilder,
    head: Module,
    inputs: Sequence[Value],
    anchors: Anchors,
    strides: Sequence[int],
    classes: int,
    masks: int = 0,
    output: str = "output0",
) -> tuple[Value, Head]:
    """YOLOv5's Detect: one convolution per level, and the decode of its output.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    convs = list(head.child("m").children.values())
    if len(convs) != len(inputs):
        raise GraphError(f'"{head.path}" has {len(convs)} convolutions and {len(inputs)} inputs, expected as many.')
    raw = [layers.convolution(builder, conv, value) for conv, value in zip(convs, inputs, strict=True)]
    return anchor_decode(builder, head.path, [c.path for c in convs], raw, anchors, strides, classes, masks, output)


def anchor_decode(
    builder: GraphBuilder,
    path: str,
    level_paths: Sequence[str],
    raw: Sequence[Value],
    anchors: Anchors,
    strides: Sequence[int],
    classes: int,
    masks: int = 0,
    output: str = "output0",
) -> tuple[Value, Head]:
    """Raw outputs (N, na (5 + classes + masks), H, W) to (N, rows, 5 + classes + masks), x, y, w, h in input pixels.

    For a cell (cx, cy) of a level with stride t and an anchor (aw, ah) in pixels, with s = sigmoid(raw):
    x = (2 s_x - 0.5 + cx) t, y = (2 s_y - 0.5 + cy) t; w = (2 s_w)^2 aw, h = (2 s_h)^2 ah; objectness and class scores
    are s, mask coefficients are raw.  Rows are ordered by level, anchor, cy, cx.  Source: YOLOv5, models/yolo.py,
    Detect
    and Segment, v3.0 to v7.0.

    Args:
        builder: the graph.
        path: of the head.
        level_paths: paths of its last convolutions.
        raw: their outputs.
        anchors: of the levels, in the order of `raw`.
        strides: input pixels per cell, in the order of `raw`.
        classes: scores per row.
        masks: mask coefficients per row.
        output: name of the rows as an output of the graph.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    if not len(raw) == len(anchors.levels_px) == len(strides):
        raise GraphError(
            f'"{path}" has {len(raw)} levels, {len(anchors.levels_px)} levels of anchors and {len(strides)} strides, '
            "expected as many of each."
        )
    fields = 5 + classes + masks
    rows = []
    for level_path, value, level_anchors, stride in zip(level_paths, raw, anchors.levels_px, strides, strict=True):
        n, channels, height, width = value.shape
        count = len(level_anchors)
        if channels != count * fields:
            raise GraphError(
                f'"{level_path}" gives {channels} channels, expected {count * fields}: '
                f"{count} anchors x (5 + {classes} classes{f' + {masks} mask coefficients' if masks else ''})."
            )
        cells = builder.reshape(level_path, value, (n, count, fields, height, width))
        cells = builder.transpose(level_path, cells, (0, 1, 3, 4, 2))
        sizes = [2, 2, 1 + classes]
        if masks:
            scored, coefficients = builder.split(level_path, cells, [sum(sizes), masks], 4)
        else:
            scored = cells
        activated = builder.add("Sigmoid", level_path, [scored], scored.shape)
        xy, wh, scores = builder.split(level_path, activated, sizes, 4)
        cy, cx = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
        grid = np.stack((cx, cy), -1)[None, None] - np.float32(0.5)
        xy = builder.elementwise("Mul", level_path, xy, 2.0)
        xy = builder.elementwise("Add", level_path, xy, grid)
        xy = builder.elementwise("Mul", level_path, xy, float(stride))
        wh = builder.elementwise("Mul", level_path, wh, 2.0)
        wh = builder.elementwise("Pow", level_path, wh, 2.0)
        wh = builder.elementwise("Mul", level_path, wh, np.array(level_anchors, np.float32)[None, :, None, None, :])
        joined = builder.concat(level_path, [xy, wh, scores, *([coefficients] if masks else [])], 4)
        rows.append(builder.reshape(level_path, joined, (n, count * height * width, fields)))
    decoded = builder.concat(path, rows, 1) if len(rows) > 1 else rows[0]
    return decoded, _head(level_paths, raw, anchors, strides, classes, masks, output)


def _head(
    paths: Sequence[str],
    raw: Sequence[Value],
    anchors: Anchors,
    strides: Sequence[int],
    classes: int,
    masks: int,
    output: str,
) -> Head:
    """The head in the contract's order, finest level first, whatever the checkpoint's order."""
    order = sorted(range(len(raw)), key=lambda i: strides[i])
    taps = tuple(
        Tap(paths[i], raw[i].name, "anchor_map", four(raw[i]), strides[i], level) for level, i in enumerate(order)
    )
    ordered = Anchors(tuple(anchors.levels_px[i] for i in order))
    counts = tuple(len(a) for a in ordered.levels_px)
    rows = DecodedRows(
        output=output,
        fields=row_fields(
            {
                "xy": ("px", 2),
                "wh": ("px", 2),
                "objectness": ("score", 1),
                "scores": ("score", classes),
                "coefficients": ("value", masks),
            }
        ),
        columns_first=False,
        corners=False,
        level_order=tuple(order.index(i) for i in range(len(raw))),
        level_rows=tuple(count * t.shape[2] * t.shape[3] for count, t in zip(counts, taps, strict=True)),
    )
    return Head(taps, classes, masks, ordered, counts[0], rows)


def four(value: Value) -> tuple[int, int, int, int]:
    """The shape of a tensor that must have four dimensions (N, C, H, W)."""
    n, c, h, w = value.shape
    return n, c, h, w
