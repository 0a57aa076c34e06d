"""Finds heads with several boxes per cell: SSD's, whose boxes are relative to anchors (RetinaFace, UltraFace,
MobileNet-SSD), and SCRFD's, which measures distances from the cells' corners.

What tells them apart is the outputs' columns: four of boxes; of SSD one score per class and one of the background; of
SCRFD one probability.  Landmarks are a third table.  Where the graph decodes SSD's boxes, anchors, steps and gains
("variances") are read out of its decode of zeros and of noise, and every row must follow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rkdeploy.contract.formulas import KeypointLayout, PointFormula, PriorFormula
from rkdeploy.host.graph.box_tables import BoxMap, BoxTables, trace_boxes
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedField, DecodedRows, DecodedTable, Head, Tap
from rkdeploy.host.graph.prior_decode import PriorDecode, read_decode

RETINAFACE, SSD, SCRFD = "retinaface", "ssd", "scrfd"
_TABLE_RANK = 3  # (1, rows, fields)
_SIDE_BY_SIDE = [2, 4, 10]
"""Fields of RetinaFace's scores, boxes and landmarks."""


@dataclass(frozen=True, slots=True)
class _PriorLevel:
    """The maps of a level by what they hold."""

    boxes: BoxMap
    scores: BoxMap
    landmarks: BoxMap | None


def find_prior_head(graph: GraphView, outputs: Sequence[str]) -> Head | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        None when the graph has neither of these kinds.
    """
    tables = trace_boxes(graph, _separate(graph, outputs))
    if tables is None or len(tables.levels) < 2:
        return None
    found = [_by_content(level) for level in tables.levels]
    levels = [level for level in found if level is not None]
    if len(levels) < len(found) or len({_widths(level) for level in levels}) > 1:
        return None
    ends = [graph.producer(level.scores.conv.tensor) for level in levels]
    if any(end is None or end.op_type != "Conv" for end in ends):  # the cut changes it
        return None
    if levels[0].scores.fields == 1:
        return _scrfd(levels)
    return _ssd(tables, levels)


def _separate(graph: GraphView, outputs: Sequence[str]) -> tuple[str, ...]:
    """The tables of boxes, scores and landmarks that a graph's only output puts side by side; else the outputs."""
    end = graph.producer(outputs[0]) if len(outputs) == 1 else None
    if end is None or end.op_type != "Concat" or len({graph.shape(name)[:2] for name in end.input}) != 1:
        return tuple(outputs)
    widths = sorted(graph.shape(name)[-1] for name in end.input if len(graph.shape(name)) == _TABLE_RANK)
    return tuple(end.input) if widths == _SIDE_BY_SIDE else tuple(outputs)


def _by_content(level: Sequence[BoxMap]) -> _PriorLevel | None:
    """Boxes, scores and landmarks of a level; None where they are ambiguous."""
    if len(level) not in (2, 3):
        return None
    scores = [part for part in level if part.activation in ("softmax", "sigmoid")]
    if not scores:  # logits: boxes and landmarks that are decoded show by that, raw ones by their width
        decodes = any(part.activation is None for part in level)
        scores = [p for p in level if p.activation == "linear" and (decodes or p.fields not in (4, 10))]
    rest = [part for part in level if part not in scores and part.activation in ("linear", None)]
    boxes = [part for part in rest if part.fields == 4]
    landmarks = [part for part in rest if part.fields != 4 and part.fields % 2 == 0]
    if len(scores) != 1 or len(boxes) != 1 or len(landmarks) != len(level) - 2:
        return None
    return _PriorLevel(boxes[0], scores[0], landmarks[0] if landmarks else None)


def _widths(level: _PriorLevel) -> tuple[int | str | None, ...]:
    parts = (level.boxes, level.scores, level.landmarks)
    return tuple(v for part in parts if part is not None for v in (part.fields, part.activation))


def _tap(part: BoxMap, role: str, level: int, **others: tuple[int, ...]) -> Tap:
    conv = part.conv
    return Tap(conv.node, conv.tensor, role, conv.shape, conv.stride, level, **others)  # type: ignore[arg-type]  # a role


def _scrfd(levels: Sequence[_PriorLevel]) -> Head | None:
    """SCRFD: distances and landmarks in cells from the cells' corners."""
    exact = all(level.boxes.activation == "linear" for level in levels)
    landmarks = levels[0].landmarks
    if not exact or len({level.boxes.per_cell for level in levels}) > 1:
        return None
    taps = []
    for number, level in enumerate(levels):
        taps += [_tap(level.boxes, "ltrb_boxes", number), _tap(level.scores, "scores", number)]
        if level.landmarks is not None:
            taps.append(_tap(level.landmarks, "keypoint_xy", number))
    return Head(
        tuple(taps),
        classes=1,
        keypoints=KeypointLayout(landmarks.fields // 2, scored=False, gain=1.0, offset=0.0) if landmarks else None,
        points=PointFormula(0.0, per_cell=levels[0].boxes.per_cell),
        kind=SCRFD,
    )


def _ssd(tables: BoxTables, levels: Sequence[_PriorLevel]) -> Head | None:
    """SSD: with its decode, or raw."""
    first = levels[0]
    if first.scores.activation not in ("softmax", "linear"):
        return None
    decoded = None
    if first.boxes.activation is None:
        decoded = read_decode(tables, [level.boxes for level in levels], [level.landmarks for level in levels])
        if decoded is None:
            return None
    landmarks = first.landmarks
    if landmarks is not None and (landmarks.activation is None) != (decoded is not None):
        return None
    classes = first.scores.fields - 1
    formula = decoded.formula if decoded is not None else PriorFormula()
    gain = formula.center_gain
    return Head(
        tuple(tap for number, level in enumerate(levels) for tap in _ssd_taps(level, number)),
        classes,
        anchors=decoded.anchors if decoded is not None else None,
        rows=_rows(levels, decoded) if decoded is not None else None,
        keypoints=KeypointLayout(landmarks.fields // 2, False, gain, 0.5, by_anchor=True) if landmarks else None,
        points=PointFormula(score="softmax") if classes > 1 else None,
        prior_formula=formula,
        kind=RETINAFACE if landmarks is not None else SSD,
    )


def _ssd_taps(level: _PriorLevel, number: int) -> list[Tap]:
    """The taps of a level; of the scores each class less the background, which is the first."""
    count, fields = level.scores.per_cell, level.scores.fields
    starts = [box * fields for box in range(count)]
    classes = tuple(start + column for start in starts for column in range(1, fields))
    background = tuple(start for start in starts for _ in range(1, fields))
    taps = [
        _tap(level.boxes, "prior_boxes", number),
        _tap(level.scores, "scores", number, channels=classes, subtracted=background),
    ]
    return taps if level.landmarks is None else [*taps, _tap(level.landmarks, "keypoint_xy", number)]


def _rows(levels: Sequence[_PriorLevel], decoded: PriorDecode) -> DecodedRows | None:
    """Layout of the graph's own rows; None where its levels are in several orders."""
    boxes, scores, landmarks = levels[0].boxes, levels[0].scores, levels[0].landmarks
    orders = {_order(maps) for maps in zip(*[_parts(level) for level in levels], strict=True)}
    if len(orders) != 1:
        return None
    others = [
        DecodedTable(scores.output, (DecodedField("scores", "score", tuple(range(scores.fields)), shares=True),), False)
    ]
    if landmarks is not None:
        points = DecodedField("keypoint_xy", "px", tuple(range(landmarks.fields)))
        others.append(DecodedTable(landmarks.output, (points,), False))
    return DecodedRows(
        boxes.output,
        (DecodedField("xy", "px", (0, 1)), DecodedField("wh", "px", (2, 3))),
        columns_first=False,
        corners=decoded.corners,
        level_order=next(iter(orders)),
        level_rows=tuple(level.boxes.rows.stop - level.boxes.rows.start for level in levels),
        others=tuple(others),
        fractions_of=decoded.fractions_of,
        raw_scores=scores.activation == "linear",
    )


def _parts(level: _PriorLevel) -> list[BoxMap]:
    return [part for part in (level.boxes, level.scores, level.landmarks) if part is not None]


def _order(maps: Sequence[BoxMap]) -> tuple[int, ...]:
    """The levels in the order of an output's rows."""
    return tuple(sorted(range(len(maps)), key=lambda number: maps[number].start))
