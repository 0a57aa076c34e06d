"""Detection heads with their decode, as the trained models compute it in inference mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.checkpoint import Module
from rkdeploy.errors import GraphError
from rkdeploy.export import layers
from rkdeploy.export.builder import GraphBuilder, Value
from rkdeploy.spec import Anchors


def anchor_detect(
    builder: GraphBuilder,
    head: Module,
    inputs: Sequence[Value],
    anchors: Anchors,
    strides: Sequence[int],
    classes: int,
) -> Value:
    """YOLOv5's Detect: raw convolution outputs to (N, rows, 5 + classes), x, y, w, h in input pixels.

    For a cell (cx, cy) of a level with stride t and an anchor (aw, ah) in pixels, with s = sigmoid(raw):
    x = (2 s_x - 0.5 + cx) t, y alike; w = (2 s_w)^2 aw, h alike; objectness and class scores are s.
    Rows are ordered by level, anchor, cy, cx.  Source: models/yolo.py, Detect.forward, v3.0 to v7.0.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    convs = list(head.child("m").children.values())
    if not len(convs) == len(inputs) == len(anchors.levels_px) == len(strides):
        raise GraphError(
            f'"{head.path}" has {len(convs)} convolutions, {len(inputs)} inputs, {len(anchors.levels_px)} anchor '
            f"levels and {len(strides)} strides, expected as many of each."
        )
    fields = 5 + classes
    rows = []
    for conv, value, level_anchors, stride in zip(convs, inputs, anchors.levels_px, strides, strict=True):
        raw = layers.convolution(builder, conv, value)
        n, channels, height, width = raw.shape
        count = len(level_anchors)
        if channels != count * fields:
            raise GraphError(
                f'"{conv.path}" gives {channels} channels, expected {count * fields}: '
                f"{count} anchors x (5 + {classes} classes)."
            )
        path = conv.path
        cells = builder.transpose(path, builder.reshape(path, raw, (n, count, fields, height, width)), (0, 1, 3, 4, 2))
        activated = builder.add("Sigmoid", path, [cells], cells.shape)
        split = builder.constant(f"{path}.split", np.array([2, 2, fields - 4], np.int64))
        lead = activated.shape[:4]
        xy, wh, scores = builder.add_many(
            "Split", path, [activated, split], [(*lead, 2), (*lead, 2), (*lead, fields - 4)], {"axis": 4}
        )
        cy, cx = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
        grid = np.stack((cx, cy), -1)[None, None] - np.float32(0.5)
        xy = builder.elementwise("Mul", path, xy, 2.0)
        xy = builder.elementwise("Add", path, xy, grid)
        xy = builder.elementwise("Mul", path, xy, float(stride))
        wh = builder.elementwise("Mul", path, wh, 2.0)
        wh = builder.elementwise("Pow", path, wh, 2.0)
        wh = builder.elementwise("Mul", path, wh, np.array(level_anchors, np.float32)[None, :, None, None, :])
        joined = builder.concat(path, [xy, wh, scores], 4)
        rows.append(builder.reshape(path, joined, (n, count * height * width, fields)))
    return builder.concat(head.path, rows, 1) if len(rows) > 1 else rows[0]
