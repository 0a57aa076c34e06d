"""Finds the heads of YOLOX, YuNet, NanoDet and similar ones: anchor-free, and recognized by the outputs' columns.

One table of signatures.  A signature looks at the ranges that the outputs' columns were traced to (`output_columns`),
the same on every level: how many columns each has, and whether a sigmoid was done.  Names and the order of levels play
no part.  What a graph does not say (how images are prepared, from which point of a cell boxes are measured) is in a
preset; see `rkdeploy.host.building.presets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout, PointFormula
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedRows, Head, Tap, TapRole, row_fields
from rkdeploy.host.graph.output_columns import ColumnRange, Shown, TracedLevel, TracedOutputs, trace_columns

_DECODE_ERROR = 1e-4  # of a stride, for float32's exp on values up to 3


@dataclass(frozen=True, slots=True)
class _TapChannels:
    """Channels of a convolution and what they hold."""

    role: TapRole
    piece: ColumnRange


_LevelTaps = tuple[_TapChannels, ...]


@dataclass(frozen=True, slots=True)
class _Signature:
    """A kind of head.

    Attributes:
        kind: name of the family.
        parts: the parts of a level, boxes and scores first; None where it is of another kind.
        points: how boxes and scores are read.
        keypoints: how many landmarks there are, none where the level has no part for them.
    """

    kind: str
    parts: Callable[[TracedOutputs, TracedLevel], _LevelTaps | None]
    points: PointFormula


def find_cell_head(graph: GraphView, outputs: Sequence[str]) -> Head | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        None when the graph has none of these kinds.
    """
    traced = trace_columns(graph, outputs)
    if traced is None or len(traced.levels) < 2:
        return None
    for signature in _SIGNATURES:
        levels = [signature.parts(traced, level) for level in traced.levels]
        parts = [level for level in levels if level is not None]
        if len(parts) == len(levels) and len({_widths(level) for level in parts}) == 1:
            return _head(signature, traced, parts)
    return None


def _widths(parts: _LevelTaps) -> tuple[tuple[str, int], ...]:
    return tuple((part.role, part.piece.count) for part in parts)


def _head(signature: _Signature, traced: TracedOutputs, levels: Sequence[_LevelTaps]) -> Head:
    classes = next(part.piece.count for part in levels[0] if part.role == "scores")
    landmarks = sum(part.piece.count for part in levels[0] if part.role == "keypoint_xy")
    return Head(
        tuple(_tap(part, number) for number, parts in enumerate(levels) for part in parts),
        classes,
        rows=_decoded_rows(traced, levels, classes) if signature.kind == "yolox" else None,
        keypoints=KeypointLayout(landmarks // 2, scored=False, gain=1.0, offset=0.0) if landmarks else None,
        points=signature.points,
        kind=signature.kind,
    )


def _tap(part: _TapChannels, level: int) -> Tap:
    conv, piece = part.piece.conv, part.piece
    assert conv is not None, "parts are pieces of convolutions"
    whole = piece.count == conv.shape[1]
    channels = None if whole else tuple(range(piece.first, piece.first + piece.count))
    return Tap(conv.node, conv.tensor, part.role, conv.shape, conv.stride, level, channels=channels)


# --------------------------------------------------------------------------------------------------------------------
# YOLOX
# --------------------------------------------------------------------------------------------------------------------


def _yolox(traced: TracedOutputs, level: TracedLevel) -> _LevelTaps | None:
    """Box, objectness and classes side by side in one table: raw, with sigmoids, or decoded."""
    if len(level.pieces) != 3 or len({piece.output for piece in level.pieces}) != 1 or len(level.convs) != 3:
        return None
    box, objectness, scores = level.pieces
    if box.conv is None:
        box = _decoded_box(traced, level, box) or box
    widths = (box.count, objectness.count)
    raw = (box.conv, objectness.conv, scores.conv)
    if widths != (4, 1) or box.activation != "linear" or objectness.activation != scores.activation:
        return None
    if len({conv.tensor for conv in raw if conv is not None}) != 3 or not all(_is_whole(p) for p in (box, scores)):
        return None
    return _TapChannels("center_boxes", box), _TapChannels("scores", scores), _TapChannels("objectness", objectness)


def _is_whole(piece: ColumnRange) -> bool:
    return piece.conv is not None and piece.count == piece.conv.shape[1]


def _decoded_box(traced: TracedOutputs, level: TracedLevel, box: ColumnRange) -> ColumnRange | None:
    """The raw box behind columns that hold centers and sizes in pixels; None where they hold something else."""
    shown = traced.rows_of(level, box.output)[box.column : box.column + box.count]
    for conv in level.convs:
        if conv.shape[1] != 4 or box.count != 4:
            continue
        expected = _decoded(traced.noise[conv.tensor], conv.shape[2:], level.stride)
        if np.abs(shown - expected).max() <= _DECODE_ERROR * level.stride:
            return ColumnRange(conv, 0, 4, "linear", box.output, box.column)
    return None


def _decoded(raw: NDArray[np.float32], grid: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """Centers and sizes in pixels, (4, cells), of raw boxes."""
    cells = np.indices(grid)[::-1].reshape(2, -1)
    decoded: NDArray[np.float32] = (np.concatenate((raw[:2] + cells, np.exp(raw[2:]))) * stride).astype(np.float32)
    return decoded


def _decoded_rows(traced: TracedOutputs, levels: Sequence[_LevelTaps], classes: int) -> DecodedRows | None:
    """Order and fields of the rows of the graph's decode; None for a graph without one."""
    output = levels[0][0].piece.output
    starts = [level.starts.get(output, -1) for level in traced.levels]
    shows_raw = all(piece.conv is not None for level in traced.levels for piece in level.pieces)
    if min(starts) < 0 or shows_raw or traced.layouts[output] == "maps":
        return None
    fields = row_fields({"xy": ("px", 2), "wh": ("px", 2), "objectness": ("score", 1), "scores": ("score", classes)})
    sizes = tuple(level.convs[0].shape[2] * level.convs[0].shape[3] for level in traced.levels)
    order = tuple(sorted(range(len(starts)), key=starts.__getitem__))
    return DecodedRows(
        output, fields, traced.layouts[output] == "columns", corners=False, level_order=order, level_rows=sizes
    )


# --------------------------------------------------------------------------------------------------------------------
# YuNet, NanoDet, PicoDet, RTMDet
# --------------------------------------------------------------------------------------------------------------------


def _yunet(_: TracedOutputs, level: TracedLevel) -> _LevelTaps | None:
    """Two probabilities, a box and perhaps ten coordinates, each an output of its own."""
    probabilities = [piece for piece in level.pieces if piece.activation == "sigmoid" and piece.count == 1]
    linear = {piece.count: piece for piece in level.pieces if piece.activation == "linear" and _is_whole(piece)}
    if len(probabilities) != 2 or len(level.pieces) - 2 != len(linear) or set(linear) - {4, 10} or 4 not in linear:
        return None
    if len({piece.output for piece in level.pieces}) != len(level.pieces):
        return None
    scores, objectness = probabilities
    parts = (
        _TapChannels("center_boxes", linear[4]),
        _TapChannels("scores", scores),
        _TapChannels("objectness", objectness),
    )
    return (*parts, _TapChannels("keypoint_xy", linear[10])) if 10 in linear else parts


def _nanodet(_: TracedOutputs, level: TracedLevel) -> _LevelTaps | None:
    """Scores of classes, or their logits, and four distributions over 8 distances, in rows or maps."""
    scores = [piece for piece in level.pieces if piece.activation == "sigmoid"]
    scores = scores or [piece for piece in level.pieces if piece.activation == "linear" and piece.count != 32]
    boxes = [piece for piece in level.pieces if piece.activation == "linear" and piece.count == 32]
    if len(level.pieces) != 2 or len(scores) != 1 or len(boxes) != 1 or any(p.conv is None for p in level.pieces):
        return None
    return _TapChannels("dfl_boxes", boxes[0]), _TapChannels("scores", scores[0])


def _picodet(_: TracedOutputs, level: TracedLevel) -> _LevelTaps | None:
    """Distributions over 8 distances, and the root of the product of classes and a quality."""
    scores = [piece for piece in level.pieces if piece.activation == "root"]
    boxes = [piece for piece in level.pieces if piece.activation == "linear" and piece.count == 32]
    if len(level.pieces) != 2 or len(scores) != 1 or len(boxes) != 1 or boxes[0].conv is None:
        return None
    quality = ColumnRange(scores[0].partner, 0, 1, "sigmoid", scores[0].output, scores[0].column)
    return _TapChannels("dfl_boxes", boxes[0]), _TapChannels("scores", scores[0]), _TapChannels("objectness", quality)


def _distances(level: TracedLevel, shown: Shown) -> _LevelTaps | None:
    """Scores or their logits, and four distances in pixels."""
    scores = [piece for piece in level.pieces if piece.activation in ("linear", "sigmoid") and piece.conv is not None]
    boxes = [piece for piece in level.pieces if piece.activation == shown and piece.count == 4]
    if len(level.pieces) != 2 or len(scores) != 1 or len(boxes) != 1:
        return None
    return _TapChannels("ltrb_boxes", boxes[0]), _TapChannels("scores", scores[0])


_SIGNATURES = (
    _Signature("yolox", _yolox, PointFormula(0.0, "product")),
    _Signature("yunet", _yunet, PointFormula(0.0, "root")),
    _Signature("nanodet", _nanodet, PointFormula(0.5)),
    _Signature("picodet", _picodet, PointFormula(0.5, "root")),
    _Signature("rtmdet", lambda _, level: _distances(level, "stride"), PointFormula(0.0)),
    _Signature("rtmdet", lambda _, level: _distances(level, "exp stride"), PointFormula(0.0, distance="exp")),
)
