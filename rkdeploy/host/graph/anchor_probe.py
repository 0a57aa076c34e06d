"""Probe for an anchor head in a graph: the last convolutions before the reshape, their strides, and the anchors.

Nothing is looked up by layer name.  The graph is walked back from its outputs to the first convolutions; the decode
behind them is run on known inputs: for raw outputs of zero, sigmoid gives 0.5, so a decoded row is
(cx + 0.5) stride, (cy + 0.5) stride, anchor width, anchor height.  One run over zeros reads strides, anchors and row
order out of any exporter's graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import PROTOTYPES, DecodedRows, DecodedTensor, Head, Tap, keypoint_fields, row_fields
from rkdeploy.host.graph.head_kinds import SIZE_BINS, require_no_size_bins
from rkdeploy.host.graph.head_walk import NO_HEAD, HeadConv, last_convolutions, tail
from rkdeploy.host.graph.landmark_probe import landmark_layout
from rkdeploy.host.graph.session import Session

_End: TypeAlias = tuple[str, tuple[int, ...]]
"""An output of the graph: name and shape."""


def find_anchor_head(
    graph: GraphView, classes: int | None = None, outputs: Sequence[str] = (), anchors: int | None = None
) -> Head:
    """Find the anchor head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        classes: number of classes if known; needed only if the graph ends in bare convolutions.
        outputs: the graph's outputs that belong to the head; by default all.
        anchors: number of anchors of all levels if known, from which `classes` follow.

    Raises:
        GraphError: when there is none, with the outputs found instead.
    """
    ends = [(name, graph.shape(name)) for name in outputs or graph.outputs]
    prototypes = _prototypes(ends)
    rows = [(name, shape) for name, shape in ends if (name, shape) != prototypes]
    masks = prototypes[1][1] if prototypes is not None else 0
    convs = last_convolutions(graph, [name for name, _ in rows])
    strides = [c.stride for c in convs]
    if len(set(strides)) != len(strides):
        listed = ", ".join(f"{c.node} {c.shape}" for c in convs)
        raise GraphError(
            f"The graph ends in several convolutions of one stride ({listed}), unlike an anchor head.", NO_HEAD
        )
    found = _decoded(graph, convs, rows, masks) or _raw(
        graph, convs, rows, _classes(convs, classes, anchors, masks), masks
    )
    if found is None:
        listed = ", ".join(f"{name} {shape}" for name, shape in ends)
        raise GraphError(f"The graph has no anchor head: its outputs are {listed}.", NO_HEAD)
    return found if prototypes is None else _with_prototypes(graph, found, prototypes)


def _classes(convs: tuple[HeadConv, ...], classes: int | None, anchors: int | None, masks: int) -> int | None:
    """The number of classes: as known, or from the channels of a level with its share of the anchors."""
    if classes is not None or not anchors:
        return classes
    fields, rest = divmod(convs[0].shape[1] * len(convs), anchors)
    if rest:
        channels = [c.shape[1] for c in convs]
        raise GraphError(
            f"The head's convolutions have {channels} channels, which {anchors} anchors do not divide.",
            "Give the anchors of this model, all of its levels.",
        )
    return fields - 5 - masks


def _prototypes(ends: Sequence[_End]) -> _End | None:
    """The output of a segmentation model that belongs to no level: (1, masks, H, W), in addition to rows of three
    dimensions.
    """
    images = [end for end in ends if len(end[1]) == 4]
    return images[0] if len(images) == 1 and len(ends) > 1 else None


def _decoded(graph: GraphView, convs: tuple[HeadConv, ...], ends: Sequence[_End], masks: int) -> Head | None:
    """The head of a graph with the decode, whose output has the rows of all levels."""
    tensors = {c.tensor for c in convs}
    cells = [c.shape[2] * c.shape[3] for c in convs]
    for name, shape in ends:
        if name in tensors or len(shape) != 3 or shape[2] < 6 + masks:
            continue
        fields = shape[2]
        if all(c.shape[1] % fields == 0 for c in convs):
            counts = [c.shape[1] // fields for c in convs]
            if sum(n * k for n, k in zip(counts, cells, strict=True)) == shape[1]:
                per_level = _same(counts, "anchors")
                if _is_raw_table(graph, convs, name, fields):  # YOLOv5-Lite's --concat
                    return _raw_head(convs, fields - 5 - masks, masks, "its raw outputs")
                zeros = _decoded_rows(graph, convs, name, 0.0)
                anchors, order = _anchors_and_order(zeros, convs, name, per_level)
                points = None
                if not masks:
                    ones = _decoded_rows(graph, convs, name, 1.0)
                    points = _landmarks(zeros, ones, convs, anchors, order)
                classes = fields - 5 - masks - (points.count * (3 if points.scored else 2) if points is not None else 0)
                return _head(convs, per_level, classes, masks, anchors, name, order, points)
    return None


def _raw(
    graph: GraphView, convs: tuple[HeadConv, ...], ends: Sequence[_End], classes: int | None, masks: int
) -> Head | None:
    """The head of a graph without a decode."""
    raw = [shape for _, shape in ends if len(shape) == 5]
    if raw and len(raw) == len(convs):  # (N, anchors, H, W, fields), upstream's training form
        return _raw_head(convs, _same([shape[4] for shape in raw], "fields") - 5 - masks, masks, "its raw outputs")
    flat = [shape for _, shape in ends if len(shape) == 3]
    if len(flat) == len(ends) == len(convs) and len({shape[2] for shape in flat}) == 1:  # (N, anchors x H x W, fields)
        fields = flat[0][2]
        rows = sorted((shape[1] for shape in flat), reverse=True)
        if rows == [c.shape[1] * c.shape[2] * c.shape[3] // fields for c in convs]:
            return _raw_head(convs, fields - 5 - masks, masks, "its raw outputs")
    if not _ends_in(graph, {c.tensor for c in convs}, ends):  # the convolutions themselves, or a sigmoid of each
        return None
    if classes is None:
        listed = ", ".join(f"{name} {shape}" for name, shape in ends)
        raise GraphError(
            f"The graph ends in the head's convolutions ({listed}): it has no decode, and therefore no anchors.",
            "Give the checkpoint it was exported from with --weights best.pt, or its anchors with --anchors.",
        )
    return _raw_head(convs, classes, masks, "the checkpoint")


def _is_raw_table(graph: GraphView, convs: tuple[HeadConv, ...], output: str, fields: int) -> bool:
    """True if an output has the convolutions' values as rows, (1, anchors x H x W of all levels, fields), or their
    sigmoids.
    """
    rng = np.random.default_rng(0)
    noise = {conv.tensor: rng.uniform(-3, 3, conv.shape).astype(np.float32) for conv in convs}
    try:
        rows = Session(tail(graph, convs, output)).run(noise)[output][0]
    except GraphError:  # the decode's own error is raised by whatever runs it next
        return False
    levels = [noise[c.tensor].reshape(c.shape[1] // fields, fields, -1).transpose(0, 2, 1) for c in convs]
    flat = [level.reshape(-1, fields) for level in levels]
    for raw in (np.concatenate(flat), np.concatenate(flat[::-1])):
        if raw.shape == rows.shape and min(np.abs(made - rows).max() for made in (raw, 1 / (1 + np.exp(-raw)))) < 1e-5:
            return True
    return False


def _raw_head(convs: tuple[HeadConv, ...], classes: int, masks: int, source: str) -> Head:
    """The head of a graph without a decode, which has `classes` according to `source`."""
    fields = 5 + classes + masks
    channels = [c.shape[1] for c in convs]
    if not any(n % (fields + SIZE_BINS) for n in channels) and any(n % fields for n in channels):
        require_no_size_bins(classes + SIZE_BINS, classes)
    if classes < 1 or any(n % fields for n in channels):
        listed = f"5 + {classes} classes" + (f" + {masks} mask coefficients" if masks else "")
        raise GraphError(
            f"The head's convolutions have {channels} channels, expected multiples of {fields}: {listed} of {source}.",
            "They do not belong together: give the checkpoint, or the anchors, of this model.",
        )
    return _head(convs, _same([n // fields for n in channels], "anchors"), classes, masks, None, None, ())


def _head(
    convs: tuple[HeadConv, ...],
    per_level: int,
    classes: int,
    masks: int,
    anchors: Anchors | None,
    output: str | None,
    order: tuple[int, ...],
    points: KeypointLayout | None = None,
) -> Head:
    taps = tuple(Tap(c.node, c.tensor, "anchor_map", c.shape, c.stride, level) for level, c in enumerate(convs))
    rows = None
    if output is not None:
        fields = row_fields(
            {
                "xy": ("px", 2),
                "wh": ("px", 2),
                "objectness": ("score", 1),
                "keypoint_xy": ("px", 2 * points.count if points is not None and not points.scored else 0),
                "scores": ("score", classes),
                "coefficients": ("value", masks),
            }
        )
        if points is not None and points.scored:
            fields += keypoint_fields(5 + classes, points.count, 3)
        sizes = tuple(per_level * c.shape[2] * c.shape[3] for c in convs)
        rows = DecodedRows(output, fields, columns_first=False, corners=False, level_order=order, level_rows=sizes)
    return Head(taps, classes, masks, anchors=anchors, anchors_per_level=per_level, rows=rows, keypoints=points)


def _with_prototypes(graph: GraphView, head: Head, prototypes: _End) -> Head:
    name, (n, c, h, w) = prototypes
    tap = Tap(name, name, "prototypes", (n, c, h, w), graph.image_shape[2] // h, name=PROTOTYPES)
    return replace(head, taps=(*head.taps, tap), tensors=(*head.tensors, DecodedTensor(PROTOTYPES, name, "linear")))


def _ends_in(graph: GraphView, tensors: set[str], outputs: Sequence[_End]) -> bool:
    """True if every output is one of `tensors`, or its sigmoid, and all of them appear."""
    ends = set()
    for name, _ in outputs:
        walk = graph.back([name], through=lambda node: node.op_type in ("Sigmoid", "Identity"))
        ends.add(next((tensor for tensor, _ in walk if tensor in tensors), ""))
    return ends == tensors


def _decoded_rows(graph: GraphView, convs: tuple[HeadConv, ...], output: str, raw: float) -> NDArray[np.float32]:
    """The rows that the graph behind the convolutions makes of one raw value everywhere."""
    behind = tail(graph, convs, output)
    try:
        values = Session(behind).run({c.tensor: np.full(c.shape, raw, np.float32) for c in convs})
    except GraphError as error:
        grids = ", ".join(f"{c.shape[2]}x{c.shape[3]}" for c in convs)
        raise GraphError(
            f"The decode behind the last convolutions cannot run on their {grids} cells: {error.message}",
            "YOLOv5 v5.0 writes a grid of fixed size even with --dynamic: use the --imgsz of the export, or build from "
            "the .pt.",
        ) from error
    rows: NDArray[np.float32] = values[output][0]
    return rows


def _landmarks(
    zeros: NDArray[np.float32],
    ones: NDArray[np.float32],
    convs: tuple[HeadConv, ...],
    anchors: Anchors,
    order: tuple[int, ...],
) -> KeypointLayout | None:
    """The result of `landmark_layout` with the levels in the order of the rows."""
    per_level = anchors.per_level
    listed = Anchors(tuple(anchors.levels_px[level] for level in order))
    rows = [per_level * convs[level].shape[2] * convs[level].shape[3] for level in order]
    return landmark_layout(zeros, ones, listed, [convs[level].stride for level in order], rows)


def _anchors_and_order(
    rows: NDArray[np.float32], convs: tuple[HeadConv, ...], output: str, per_level: int
) -> tuple[Anchors, tuple[int, ...]]:
    """Anchors and row order, read out of the rows of raw outputs of 0."""
    anchors: dict[int, tuple[tuple[float, float], ...]] = {}
    order: list[int] = []
    start = 0
    while start < len(rows):
        level = next(
            (
                i
                for i, c in enumerate(convs)
                if i not in anchors and abs(rows[start, 0] - c.stride / 2) < 1e-3 * c.stride
            ),
            None,
        )
        if level is None:
            box = [round(float(v), 3) for v in rows[start, :4]]
            raise GraphError(
                f'Row {start} of "{output}" decodes zeros to {box}, expected the first cell\'s center, half a stride.',
                "This is not YOLOv5's decode in pixels; export again without normalization or extra outputs.",
            )
        conv = convs[level]
        cells = conv.shape[2] * conv.shape[3]
        block = rows[start : start + per_level * cells, :4]
        if block.shape != (per_level * cells, 4):  # the tail's own shapes contradict those of the graph
            raise GraphError(
                f'"{output}" has {len(block)} rows of its level of stride {conv.stride}, expected {per_level * cells}.'
            )
        block = block.reshape(per_level, cells, 4)
        _check_block(block, conv, output)
        anchors[level] = tuple((float(w), float(h)) for w, h in block[:, 0, 2:])
        order.append(level)
        start += per_level * cells
    if len(anchors) < len(convs):
        strides = [conv.stride for i, conv in enumerate(convs) if i not in anchors]
        raise GraphError(f'"{output}" has no rows of its convolutions of stride {", ".join(map(str, strides))}.')
    return Anchors(tuple(anchors[i] for i in range(len(convs)))), tuple(order)


def _check_block(block: NDArray[np.float32], conv: HeadConv, output: str) -> None:
    height, width = conv.shape[2:]
    cy, cx = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    centers = (np.stack((cx, cy), -1).reshape(-1, 2) + 0.5) * conv.stride
    if np.abs(block[:, :, :2] - centers).max() > 1e-3 * conv.stride or np.ptp(block[:, :, 2:], axis=1).max() > 1e-3:
        raise GraphError(
            f'The rows of "{output}" at stride {conv.stride} are not in YOLOv5\'s order: anchor, row, column.'
        )


def _same(counts: list[int], what: str) -> int:
    if len(set(counts)) != 1:
        raise GraphError(f"The head has {counts} {what} on its levels, expected the same number on all.")
    return counts[0]
