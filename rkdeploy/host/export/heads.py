"""Anchor heads with their decode, as the trained models compute it in inference mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, row_fields


@dataclass(frozen=True, slots=True)
class AnchorLayout:
    """What the channels of an anchor head mean.

    Attributes:
        anchors: per level, in pixels, in the order of the head's inputs.
        strides: input pixels per cell of each level, in the same order.
        classes: scores per row.
        masks: mask coefficients per row.
        output: name that the rows will have as an output of the graph.
    """

    anchors: Anchors
    strides: Sequence[int]
    classes: int
    masks: int = 0
    output: str = "output0"

    @property
    def fields(self) -> int:
        """Values per row: box, objectness, scores, mask coefficients."""
        return 5 + self.classes + self.masks


def anchor_detect(
    builder: GraphBuilder, head: Module, inputs: Sequence[Value], layout: AnchorLayout
) -> tuple[Value, Head]:
    """YOLOv5's Detect: one convolution per level, and the decode of its output.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    convs = list(head.child("m").children.values())
    if len(convs) != len(inputs):
        raise GraphError(f'"{head.path}" has {len(convs)} convolutions and {len(inputs)} inputs, expected as many.')
    raw = [convolution(builder, conv, value) for conv, value in zip(convs, inputs, strict=True)]
    return anchor_decode(builder, head.path, [c.path for c in convs], raw, layout)


def anchor_decode(
    builder: GraphBuilder, path: str, level_paths: Sequence[str], raw: Sequence[Value], layout: AnchorLayout
) -> tuple[Value, Head]:
    """Raw outputs (N, na (5 + classes + masks), H, W) to (N, rows, 5 + classes + masks), x, y, w, h in input pixels.

    For a cell (cx, cy) of a level with stride t and an anchor (aw, ah) in pixels, with s = sigmoid(raw):
    x = (2 s_x - 0.5 + cx) t, y alike; w = (2 s_w)^2 aw, h alike; objectness and class scores are s, mask coefficients
    are raw.  Rows are ordered by level, anchor, cy, cx.  Source: YOLOv5, models/yolo.py, Detect and Segment, v3.0 to
    v7.0.

    Args:
        builder: the graph.
        path: of the head.
        level_paths: of its last convolutions.
        raw: their outputs.
        layout: what they mean.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    levels = layout.anchors.levels_px
    if not len(raw) == len(levels) == len(layout.strides):
        raise GraphError(
            f'"{path}" has {len(raw)} levels, {len(levels)} levels of anchors and {len(layout.strides)} strides, '
            "expected as many of each."
        )
    rows = [
        _level_rows(builder, level_path, value, layout, level)
        for level, (level_path, value) in enumerate(zip(level_paths, raw, strict=True))
    ]
    decoded = builder.concat(path, rows, 1) if len(rows) > 1 else rows[0]
    return decoded, _head(level_paths, raw, layout)


def _level_rows(builder: GraphBuilder, path: str, value: Value, layout: AnchorLayout, level: int) -> Value:
    """The decoded rows of one level, (N, na H W, fields).

    Raises:
        GraphError: when the level has another number of channels than its anchors and fields.
    """
    n, channels, height, width = value.shape
    anchors, masks = layout.anchors.levels_px[level], layout.masks
    count = len(anchors)
    if channels != count * layout.fields:
        raise GraphError(
            f'"{path}" gives {channels} channels, expected {count * layout.fields}: '
            f"{count} anchors x (5 + {layout.classes} classes{f' + {masks} mask coefficients' if masks else ''})."
        )
    cells = builder.reshape(path, value, (n, count, layout.fields, height, width))
    cells = builder.transpose(path, cells, (0, 1, 3, 4, 2))
    sizes = [2, 2, 1 + layout.classes]
    scored, *coefficients = builder.split(path, cells, [sum(sizes), masks], 4) if masks else [cells]
    activated = builder.add("Sigmoid", path, [scored], scored.shape)
    xy, wh, scores = builder.split(path, activated, sizes, 4)
    cy, cx = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    grid = np.stack((cx, cy), -1)[None, None] - np.float32(0.5)
    xy = builder.elementwise("Mul", path, xy, 2.0)
    xy = builder.elementwise("Add", path, xy, grid)
    xy = builder.elementwise("Mul", path, xy, float(layout.strides[level]))
    wh = builder.elementwise("Mul", path, wh, 2.0)
    wh = builder.elementwise("Pow", path, wh, 2.0)
    wh = builder.elementwise("Mul", path, wh, np.array(anchors, np.float32)[None, :, None, None, :])
    joined = builder.concat(path, [xy, wh, scores, *coefficients], 4)
    return builder.reshape(path, joined, (n, count * height * width, layout.fields))


def _head(paths: Sequence[str], raw: Sequence[Value], layout: AnchorLayout) -> Head:
    """The head in the contract's order, finest level first, whatever the order of the checkpoint's."""
    strides, anchors = layout.strides, layout.anchors.levels_px
    order = sorted(range(len(raw)), key=lambda i: strides[i])
    taps = tuple(
        Tap(paths[i], raw[i].name, "anchor_map", four(raw[i]), strides[i], level) for level, i in enumerate(order)
    )
    ordered = Anchors(tuple(anchors[i] for i in order))
    counts = tuple(len(a) for a in ordered.levels_px)
    rows = DecodedRows(
        output=layout.output,
        fields=row_fields(
            {
                "xy": ("px", 2),
                "wh": ("px", 2),
                "objectness": ("score", 1),
                "scores": ("score", layout.classes),
                "coefficients": ("value", layout.masks),
            }
        ),
        columns_first=False,
        corners=False,
        level_order=tuple(order.index(i) for i in range(len(raw))),
        level_rows=tuple(count * t.shape[2] * t.shape[3] for count, t in zip(counts, taps, strict=True)),
    )
    return Head(taps, layout.classes, layout.masks, ordered, counts[0], rows)


def four(value: Value) -> tuple[int, int, int, int]:
    """The shape of a tensor that must have four dimensions (N, C, H, W)."""
    n, c, h, w = value.shape
    return n, c, h, w
