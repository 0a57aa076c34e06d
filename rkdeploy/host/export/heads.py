"""Anchor heads with their decode, as the trained models compute it in inference mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula, KeypointLayout, SizeBins
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, keypoint_fields, row_fields


@dataclass(frozen=True, slots=True)
class AnchorMap:
    """The raw output of one level.

    Attributes:
        path: of its convolution.
        value: (N, na * fields, H, W).
    """

    path: str
    value: Value


@dataclass(frozen=True, slots=True)
class AnchorLayout:
    """Meaning of the channels of an anchor head.

    Attributes:
        anchors: per level, in pixels, in the order of the head's inputs.
        strides: input pixels per cell of each level, in the same order.
        classes: scores per row.
        masks: mask coefficients per row.
        keypoints: how keypoints are read, None for boxes alone.  x, y and score of each lie behind the classes; x and
            y of keypoints without scores between objectness and classes.
        output: name that the rows will have as an output of the graph.
        formula: how boxes are read; None for YOLOv5's.
    """

    anchors: Anchors
    strides: Sequence[int]
    classes: int
    masks: int = 0
    keypoints: KeypointLayout | None = None
    output: str = "output0"
    formula: AnchorFormula | None = None

    @property
    def points(self) -> int:
        """Values per row of keypoints without scores."""
        return 2 * self.keypoints.count if self.keypoints is not None and not self.keypoints.scored else 0

    @property
    def scored_points(self) -> int:
        """Values per row of keypoints with scores."""
        return 3 * self.keypoints.count if self.keypoints is not None and self.keypoints.scored else 0

    @property
    def bins(self) -> SizeBins | None:
        """Bins of the sizes, if they have some."""
        return self.formula.bins if self.formula is not None else None

    @property
    def columns(self) -> int:
        """Values per decoded row: box, objectness, keypoints, scores, mask coefficients."""
        return 5 + self.points + self.classes + self.masks + self.scored_points

    @property
    def fields(self) -> int:
        """Raw values per row: as decoded, and the bins of both sizes."""
        return self.columns + (2 * len(self.bins.centers) if self.bins is not None else 0)

    def __str__(self) -> str:
        count = self.points or self.scored_points
        points = f" + {count} of keypoints" if count else ""
        masks = f" + {self.masks} mask coefficients" if self.masks else ""
        bins = f" + 2 x {len(self.bins.centers)} bins" if self.bins is not None else ""
        return f"(5{bins}{points} + {self.classes} classes{masks})"


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
    maps = [AnchorMap(c.path, convolution(builder, c, value)) for c, value in zip(convs, inputs, strict=True)]
    return anchor_decode(builder, head.path, maps, layout)


def anchor_decode(
    builder: GraphBuilder, path: str, maps: Sequence[AnchorMap], layout: AnchorLayout
) -> tuple[Value, Head]:
    """Raw outputs (N, na fields, H, W) to (N, rows, columns), x, y, w, h in input pixels.

    For a cell (cx, cy) of a level with stride t and an anchor (aw, ah) in pixels, with s = sigmoid(raw):
    x = (2 s_x - 0.5 + cx) t, y = (2 s_y - 0.5 + cy) t; w = (2 s_w)^2 aw, h = (2 s_h)^2 ah, unless the layout says
    otherwise (`AnchorFormula`); objectness and class scores are s, mask coefficients are raw; keypoints as
    `KeypointLayout` says.  Columns are x, y, w, h, objectness, x and y of keypoints without scores, classes,
    coefficients, and x, y, score of each keypoint with one.  Rows are ordered by level, anchor, cy, cx.  Sources:
    YOLOv5, models/yolo.py, Detect and Segment, v3.0 to v7.0; the same file of deepcam-cn/yolov5-face (Detect) and of
    WongKinYiu/yolov7 (IKeypoint).

    Args:
        builder: the graph.
        path: of the head.
        maps: the raw outputs of the levels.
        layout: what their channels mean.

    Raises:
        GraphError: when the levels, anchors and channels do not fit together.
    """
    levels = layout.anchors.levels_px
    if not len(maps) == len(levels) == len(layout.strides):
        raise GraphError(
            f'"{path}" has {len(maps)} levels, {len(levels)} levels of anchors and {len(layout.strides)} strides, '
            "expected as many of each."
        )
    rows = [
        _level_rows(builder, level, anchors_px, stride, layout)
        for level, anchors_px, stride in zip(maps, levels, layout.strides, strict=True)
    ]
    decoded = builder.concat(path, rows, 1) if len(rows) > 1 else rows[0]
    return decoded, _head(maps, layout)


def _level_rows(
    builder: GraphBuilder,
    level: AnchorMap,
    anchors_px: Sequence[tuple[float, float]],
    stride: int,
    layout: AnchorLayout,
) -> Value:
    """The decoded rows of one level, (N, na H W, columns)."""
    path = level.path
    n, _, height, width = level.value.shape
    count = len(anchors_px)
    xy, wh, *scores = _activated(
        builder, path, _cells(builder, path, level.value, count, layout.fields, str(layout)), layout
    )
    cy, cx = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    grid = np.stack((cx, cy), -1)[None, None]
    sizes = np.array(anchors_px, np.float32)[None, :, None, None, :]
    formula = layout.formula or AnchorFormula()
    gain = formula.center_gain(sorted(layout.strides).index(stride))
    xy = builder.elementwise("Mul", path, xy, gain)
    xy = builder.elementwise("Add", path, xy, grid - np.float32((gain - 1) / 2 - formula.center_shift))
    xy = builder.elementwise("Mul", path, xy, float(stride))
    if formula.size == "exp" and formula.bins is None:
        wh = builder.add("Exp", path, [wh], wh.shape)
    elif formula.bins is None and formula.size == "square":
        wh = builder.elementwise("Mul", path, wh, 2.0)
        wh = builder.elementwise("Pow", path, wh, 2.0)
    wh = builder.elementwise("Mul", path, wh, sizes)
    if layout.keypoints is not None:
        scores = _with_points(builder, level, scores, sizes, grid, stride, layout.keypoints)
    joined = builder.concat(path, [xy, wh, *scores], 4)
    return builder.reshape(path, joined, (n, count * height * width, layout.columns))


def _with_points(
    builder: GraphBuilder,
    level: AnchorMap,
    scores: Sequence[Value],
    sizes: NDArray[np.float32],
    grid: NDArray[np.float32],
    stride: int,
    keypoints: KeypointLayout,
) -> list[Value]:
    """The columns behind the box with their keypoints in pixels: in place, or joined from their own convolution.

    Args:
        builder: the graph.
        level: the raw outputs.
        scores: objectness, raw keypoints and classes; or objectness and classes together, then raw keypoints.
        sizes: of the anchors in pixels, (1, na, 1, 1, 2).
        grid: x and y of the cells, (1, 1, H, W, 2).
        stride: input pixels per cell.
        keypoints: how they are read.
    """
    gain = np.float32(keypoints.gain) * (sizes if keypoints.by_anchor else np.full_like(sizes, stride))
    shift = (grid + np.float32(keypoints.offset)) * np.float32(stride)
    if not keypoints.scored:
        objectness, points, classes = scores
        return [objectness, _points(builder, level.path, points, gain, shift), classes]
    scored, points = scores
    return [scored, _scored_points(builder, level.path, points, gain, shift)]


def _cells(builder: GraphBuilder, path: str, value: Value, count: int, fields: int, described: str) -> Value:
    """(N, na fields, H, W) to (N, na, H, W, fields).

    Raises:
        GraphError: for another number of channels.
    """
    n, channels, height, width = value.shape
    if channels != count * fields:
        raise GraphError(
            f'"{path}" gives {channels} channels, expected {count * fields}: {count} anchors x {described}.'
        )
    cells = builder.reshape(path, value, (n, count, fields, height, width))
    return builder.transpose(path, cells, (0, 1, 3, 4, 2))


def _activated(builder: GraphBuilder, path: str, cells: Value, layout: AnchorLayout) -> list[Value]:
    """Sigmoids of x y and of w h, then the other columns: scores, or objectness, raw keypoints and classes.

    w h stay raw where they are exponents, and are sizes in anchors where they have bins.
    """
    if layout.bins is not None:
        return _with_bins(builder, path, cells, layout.classes, layout.bins)
    if layout.formula is not None and layout.formula.size == "exp":
        if layout.points or layout.masks or layout.scored_points:
            raise GraphError(f'"{path}" has exponents for sizes next to keypoints or masks, which is not supported.')
        xy, wh, scores = builder.split(path, cells, [2, 2, 1 + layout.classes], 4)
        xy, scores = (builder.add("Sigmoid", path, [v], v.shape) for v in (xy, scores))
        return [xy, wh, scores]
    if layout.points:
        boxes, points, classes = builder.split(path, cells, [5, layout.points, layout.classes], 4)
        boxes, classes = (builder.add("Sigmoid", path, [v], v.shape) for v in (boxes, classes))
        xy, wh, objectness = builder.split(path, boxes, [2, 2, 1], 4)
        return [xy, wh, objectness, points, classes]
    if layout.formula is not None and layout.formula.classes == "softmax":
        boxes, classes = builder.split(path, cells, [5, layout.classes], 4)
        boxes = builder.add("Sigmoid", path, [boxes], boxes.shape)
        classes = builder.add("Softmax", path, [classes], classes.shape, {"axis": 4})
        xy, wh, objectness = builder.split(path, boxes, [2, 2, 1], 4)
        if layout.formula.powers != (1.0, 1.0):
            objectness, classes = (
                builder.elementwise("Pow", path, value, power)
                for value, power in zip((objectness, classes), layout.formula.powers, strict=True)
            )
        return [xy, wh, objectness, classes]
    scored, rest = cells, []
    if layout.masks or layout.scored_points:
        scored, *rest = builder.split(path, cells, [5 + layout.classes, layout.masks + layout.scored_points], 4)
    activated = builder.add("Sigmoid", path, [scored], scored.shape)
    return [*builder.split(path, activated, [2, 2, 1 + layout.classes], 4), *rest]


def _with_bins(builder: GraphBuilder, path: str, cells: Value, classes: int, bins: SizeBins) -> list[Value]:
    """Sigmoids of x y, widths and heights in anchors by the formula of `SizeBins`, and sigmoids of the scores."""
    count = len(bins.centers)
    xy, w, width_bins, h, height_bins, scores = builder.split(path, cells, [2, 1, count, 1, count, 1 + classes], 4)
    xy, w, h, scores = (builder.add("Sigmoid", path, [v], v.shape) for v in (xy, w, h, scores))
    centers = builder.constant(f"{path}.bins", np.array(bins.centers, np.float32))
    low, high = (builder.constant(f"{path}.limit", np.array(v, np.float32)) for v in (bins.low, bins.high))
    sizes = []
    for place, logits in ((w, width_bins), (h, height_bins)):
        chosen = builder.add("ArgMax", path, [logits], place.shape, {"axis": 4, "keepdims": 1})
        middle = builder.add("Gather", path, [centers, chosen], place.shape)
        offset = builder.elementwise("Mul", path, place, 2 * bins.reach)
        size = builder.elementwise("Add", path, builder.elementwise("Sub", path, offset, bins.reach), middle)
        sizes.append(builder.add("Clip", path, [size, low, high], place.shape))
    return [xy, builder.concat(path, sizes, 4), scores]


def _points(
    builder: GraphBuilder, path: str, points: Value, gain: NDArray[np.float32], shift: NDArray[np.float32]
) -> Value:
    """Raw x, y in turn, (N, na, H, W, 2 count), to pixels: raw * gain + shift.

    Args:
        builder: the graph.
        path: of the convolution.
        points: the raw values.
        gain: pixels per unit, (1, na, 1, 1, 2).
        shift: pixels, (1, 1, H, W, 2).
    """
    count = points.shape[4] // 2
    scaled = builder.elementwise("Mul", path, points, np.tile(gain, count))
    return builder.elementwise("Add", path, scaled, np.tile(shift, count))


def _scored_points(
    builder: GraphBuilder, path: str, points: Value, gain: NDArray[np.float32], shift: NDArray[np.float32]
) -> Value:
    """Raw x, y, score in turn, (N, na, H, W, 3 count), to pixels and sigmoids."""
    shape = points.shape
    each = builder.reshape(path, points, (*shape[:4], shape[4] // 3, 3))
    xy, score = builder.split(path, each, [2, 1], 5)
    flat = builder.reshape(path, xy, (*shape[:4], shape[4] // 3 * 2))
    xy = builder.reshape(path, _points(builder, path, flat, gain, shift), xy.shape)
    joined = builder.concat(path, [xy, builder.add("Sigmoid", path, [score], score.shape)], 5)
    return builder.reshape(path, joined, shape)


def _head(maps: Sequence[AnchorMap], layout: AnchorLayout) -> Head:
    """The head in the contract's order, finest level first, whatever the checkpoint's order."""
    levels, strides = layout.anchors.levels_px, layout.strides
    order = sorted(range(len(maps)), key=lambda i: strides[i])
    taps, sizes = [], []
    for level, i in enumerate(order):
        each = maps[i]
        shape = four(each.value)
        taps.append(Tap(each.path, each.value.name, "anchor_map", shape, strides[i], level))
        sizes.append(len(levels[i]) * shape[2] * shape[3])
    columns = row_fields(
        {
            "xy": ("px", 2),
            "wh": ("px", 2),
            "objectness": ("score", 1),
            "keypoint_xy": ("px", layout.points),
            "scores": ("score", layout.classes),
            "coefficients": ("value", layout.masks),
        }
    )
    if layout.keypoints is not None and layout.keypoints.scored:
        columns += keypoint_fields(5 + layout.classes, layout.keypoints.count, 3)
    rows = DecodedRows(
        output=layout.output,
        fields=columns,
        columns_first=False,
        corners=False,
        level_order=tuple(order.index(i) for i in range(len(maps))),
        level_rows=tuple(sizes),
    )
    ordered = Anchors(tuple(levels[i] for i in order))
    return Head(
        tuple(taps), layout.classes, layout.masks, ordered, ordered.per_level, rows, keypoints=layout.keypoints,
        anchor_formula=layout.formula,
    )  # fmt: skip


def four(value: Value) -> tuple[int, int, int, int]:
    """The shape of a tensor that must have four dimensions (N, C, H, W)."""
    n, c, h, w = value.shape
    return n, c, h, w
