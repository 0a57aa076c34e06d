"""The head of a graph that ends in its raw tensors: the role of each, by shape, activation and order.

A graph without a decode does not contain everything: anchors, whether boxes need suppression, and the formulas of
angles and of keypoints that it does not decode.  These stay open here; a checkpoint supplies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

from rkdeploy.contract.formulas import AngleFormula, KeypointLayout
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import PROTOTYPES, DecodedTensor, Head, Tap, TapRole
from rkdeploy.host.graph.raw_ends import Prototypes, RawEnd, RawEnds, find_raw_ends

_BOX_CHANNELS = (64, 68, 4)
"""For 16 bins, 17 bins, plain distances (Ultralytics, PP-YOLOE and YOLOv6); the first counts if two fit."""
_SIGMOID_ANGLE = AngleFormula(sigmoid=True, gain=pi, offset=-0.25 * pi)  # YOLOv8's and 11's; YOLO26's has no sigmoid


def find_raw_head(graph: GraphView, outputs: Sequence[str]) -> Head | None:
    """Find the head of a simplified graph that ends in several raw tensors per level.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        The head, whose anchors, formulas and `end_to_end` are open if the graph does not contain them; None if the
        graph has a decode, is of another kind, or ends in one raw tensor per level.
    """
    ends = find_raw_ends(graph, outputs)
    if ends is None or len({_signature(level) for level in ends.levels}) != 1:
        return None
    count = len(ends.levels[0])
    if count == 2 and ends.prototypes is not None:
        return _anchor_head(graph, ends, ends.prototypes)
    return _point_head(graph, ends) if count in (2, 3) else None


def _signature(level: Sequence[RawEnd]) -> frozenset[tuple[int, str, bool]]:
    return frozenset((end.conv.shape[1], end.activation, end.per_cell) for end in level)


def _anchor_head(graph: GraphView, ends: RawEnds, prototypes: Prototypes) -> Head | None:
    """A head with one convolution for boxes and scores, and one for coefficients (the fork of YOLOv5's -seg)."""
    masks = prototypes.shape[1]
    first = sorted(ends.levels[0], key=lambda end: end.activation == "linear")
    maps, coefficients = first[0].conv.shape[1], first[1].conv.shape[1]
    per_level = coefficients // masks
    if first[1].activation != "linear" or coefficients % masks or maps % per_level or maps // per_level < 6:
        return None
    roles: tuple[tuple[TapRole, int], ...] = (("anchor_map", maps), ("anchor_coefficients", coefficients))
    taps = [
        _tap(end, role, level)
        for level, found in enumerate(ends.levels)
        for role, width in roles
        for end in found
        if end.conv.shape[1] == width
    ]
    if len(taps) != 2 * len(ends.levels):  # both of equal width
        return None
    classes = maps // per_level - 5
    taps.append(_prototype_tap(graph, prototypes))
    return Head(tuple(taps), classes, masks, anchors_per_level=per_level, tensors=_prototype_tensors(prototypes))


def _point_head(graph: GraphView, ends: RawEnds) -> Head | None:
    """An anchor-free head: boxes, scores, and others."""
    levels = [_ordered(level, ends.prototypes) for level in ends.levels]
    parts = [level for level in levels if level is not None]
    if len(parts) != len(levels):
        return None
    first = parts[0]
    extra = first[2] if len(first) > 2 else None
    roles: list[TapRole] = ["ltrb_boxes" if first[0].conv.shape[1] == 4 else "dfl_boxes", "scores"]
    if extra is not None:
        roles.append(_extra_role(extra, ends.prototypes))
    taps = [
        _tap(end, role, number) for number, level in enumerate(parts) for end, role in zip(level, roles, strict=True)
    ]
    if ends.prototypes is not None:
        taps.append(_prototype_tap(graph, ends.prototypes))
    return Head(
        tuple(taps),
        first[1].conv.shape[1],
        masks=ends.prototypes.shape[1] if ends.prototypes is not None else 0,
        tensors=_prototype_tensors(ends.prototypes),
        keypoints=_layout(extra),
        angle=_SIGMOID_ANGLE if roles[-1] == "angles" and extra is not None and extra.activation == "sigmoid" else None,
    )


def _ordered(level: Sequence[RawEnd], prototypes: Prototypes | None) -> list[RawEnd] | None:
    """Boxes, scores and the rest of one level; None if they are ambiguous."""
    rest = list(level)
    extra = _extra(rest, prototypes) if len(rest) == 3 else None
    if extra is not None:
        rest.remove(extra)
    scores = [end for end in rest if end.activation == "sigmoid"]
    boxes = [end for end in rest if end.activation == "linear" and end.conv.shape[1] % 4 == 0 and end.per_cell]
    if len(rest) != 2 or len(scores) > 1 or not boxes or not all(end.per_cell for end in rest):
        return None
    usual = [end for n in _BOX_CHANNELS for end in boxes if end.conv.shape[1] == n]
    box = (usual or boxes)[0]
    others = [end for end in rest if end is not box]
    return [box, *others, *([extra] if extra is not None else [])]


def _extra(level: Sequence[RawEnd], prototypes: Prototypes | None) -> RawEnd | None:
    """Coefficients, keypoints or angle of a level: the part that is neither boxes nor scores."""
    beside = [end for end in level if not end.per_cell]
    if prototypes is not None:
        width = prototypes.shape[1]
        beside = [end for end in level if end.conv.shape[1] == width and end.activation == "linear"]
    elif not beside and sum(end.activation == "sigmoid" for end in level) == 1:
        beside = [end for end in level if end.activation == "linear"]
        beside = [end for end in beside if end.conv.shape[1] not in _BOX_CHANNELS] or beside
    elif not beside and all(end.activation == "linear" for end in level):
        beside = list(level)  # in upstream's order: boxes, scores, the rest
    return beside[-1] if beside else None


def _extra_role(extra: RawEnd, prototypes: Prototypes | None) -> TapRole:
    if prototypes is not None:
        return "mask_coefficients"
    return "angles" if extra.conv.shape[1] == 1 else "keypoints"


def _layout(extra: RawEnd | None) -> KeypointLayout | None:
    decoded = extra.keypoints if extra is not None else None
    return None if decoded is None else KeypointLayout(decoded.count, decoded.scored, decoded.gain, decoded.offset)


def _tap(end: RawEnd, role: TapRole, level: int) -> Tap:
    return Tap(end.conv.node, end.conv.tensor, role, end.conv.shape, end.conv.stride, level)


def _prototype_tap(graph: GraphView, prototypes: Prototypes) -> Tap:
    name, shape = prototypes.output, prototypes.shape
    return Tap(name, name, "prototypes", shape, graph.image_shape[2] // shape[2], name=PROTOTYPES)


def _prototype_tensors(prototypes: Prototypes | None) -> tuple[DecodedTensor, ...]:
    return () if prototypes is None else (DecodedTensor(PROTOTYPES, prototypes.output, "linear"),)
