"""Kinds whose head no probe knows: asked when the probes are done."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from rkdeploy.host.graph.graph_facts import GraphFacts, Shape
from rkdeploy.host.graph.graph_kinds import WITHOUT_NMS, GraphKind, suppresses
from rkdeploy.host.graph.head_kinds import SIZE_BINS
from rkdeploy.host.graph.shared_classes import shared_levels

_MAX_QUERIES = 1000


def _widths(facts: GraphFacts) -> dict[int, int]:
    """Number of outputs of rows, (rows, n) or (1, rows, n), with n columns; empty if there are other outputs."""
    found: dict[int, int] = {}
    for shape in facts.outputs.values():
        if not (len(shape) == 2 or (len(shape) == 3 and shape[0] == 1)) or not shape[-1] or not shape[-2]:
            return {}
        found[shape[-1]] = found.get(shape[-1], 0) + 1
    return found


def _row_counts(facts: GraphFacts) -> set[int]:
    return {shape[-2] or 0 for shape in facts.outputs.values() if len(shape) >= 2}


def _is_yunet(facts: GraphFacts) -> bool:
    widths = _widths(facts)
    levels = widths.get(4, 0)
    return levels >= 2 and widths == {1: 2 * levels, 4: levels, 10: levels}


def _is_scrfd(facts: GraphFacts) -> bool:
    widths = _widths(facts)
    levels = widths.get(4, 0)
    return levels >= 2 and widths in ({1: levels, 4: levels, 10: levels}, {1: levels, 4: levels})


def _is_prior_face(facts: GraphFacts) -> bool:
    """Boxes and two scores per prior, possibly ten coordinates of landmarks."""
    widths = _widths(facts)
    return widths in ({4: 1, 2: 1}, {4: 1, 2: 1, 10: 1}) and len(_row_counts(facts)) == 1


def _boxes_and_scores(facts: GraphFacts) -> int:
    """Rows of a graph with boxes and one score per class in each row; 0 for others."""
    widths = _widths(facts)
    rows = _row_counts(facts)
    return next(iter(rows)) if len(widths) == 2 and 4 in widths and len(rows) == 1 and max(widths.values()) == 1 else 0


def _is_query_detector(facts: GraphFacts) -> bool:
    """At most a few hundred rows, without suppression: (1, 300, 4) and (1, 300, nc), or both in one."""
    rows = _boxes_and_scores(facts)
    widths = _widths(facts)
    if not rows and len(facts.outputs) == 1 and len(widths) == 1 and next(iter(widths)) > 4:
        rows = next(iter(_row_counts(facts)))
    attends = "GridSample" in facts.ops or facts.ops["Softmax"] + facts.ops["TopK"] > 2
    return 0 < rows <= _MAX_QUERIES and rows != facts.cells and attends


def _compares_texts(facts: GraphFacts) -> bool:
    """The largest similarity of each cell with one of several built-in constant texts, and decoded rows of all
    cells.
    """
    shapes = list(facts.outputs.values())
    return (
        facts.ops["ReduceMax"] > 0
        and facts.ops["MatMul"] > facts.ops["ReduceMax"]
        and len(facts.levels) > 1
        and len(shapes) == 1
        and len(shapes[0]) == 3
        and facts.cells in shapes[0]
    )


def _is_darknet(facts: GraphFacts) -> bool:
    """(1, rows, 1, 4) boxes and (1, rows, nc) scores, as in pytorch-YOLOv4."""
    shapes = sorted(facts.outputs.values(), key=len)
    return [len(s) for s in shapes] == [3, 4] and shapes[1][2:] == (1, 4) and shapes[0][1] == shapes[1][1]


def _is_distributed_rows(facts: GraphFacts) -> bool:
    """Scores and distributions of box sides as rows: NanoDet's and PicoDet's, whose boxes have 8 bins per side."""
    widths = _widths(facts)
    levels = len(_row_counts(facts))
    pairs = len(widths) == 2 and set(widths.values()) == {levels} and 32 in widths and levels >= 2
    return pairs or (len(widths) == 1 and _is_merged(facts, next(iter(widths))))


def _is_merged(facts: GraphFacts, width: int) -> bool:
    """One table of raw rows, (1, cells, nc + 32)."""
    levels = facts.levels
    return (
        width > 32
        and _row_counts(facts) == {facts.cells}
        and all(sum(level) == width and (len(level) == 1 or 32 in level) for level in levels)
    )


def _is_yolov6(facts: GraphFacts) -> bool:
    """Decoded rows with a column of ones between box and classes."""
    levels = set(facts.levels)
    if len(levels) != 1 or len(channels := next(iter(levels))) != 2:
        return False
    classes = [n for n in channels if n not in (4, 68)] or [channels[0]]
    return list(facts.outputs.values()) == [(1, facts.cells, 5 + classes[0])]


def _has_size_bins(facts: GraphFacts) -> bool:
    """Decoded rows of all anchors, and in the convolutions 21 bins more for each width and height."""
    shapes = list(facts.outputs.values())
    levels = set(facts.levels)
    if len(shapes) != 1 or len(shapes[0]) != 3 or len(levels) != 1 or len(channels := next(iter(levels))) != 1:
        return False
    anchors, rest = divmod(shapes[0][1] or 0, facts.cells)
    fields = (shapes[0][2] or 0) + SIZE_BINS
    return anchors > 0 and rest == 0 and channels[0] == anchors * fields


def _is_raw_anchors(facts: GraphFacts) -> bool:
    """Maps of anchors, (1, anchors, H, W, fields)."""
    return bool(facts.outputs) and all(len(shape) == 5 for shape in facts.outputs.values())


def _is_text(facts: GraphFacts) -> bool:
    """Scores of each character along a wide, low image: one table (1, T, characters), in either order, and no map."""
    height, width = facts.image_hw
    tables = [shape for shape in facts.outputs.values() if len(shape) == 3 and 1 in shape[:2]]
    has_maps = any(len(shape) > 3 for shape in facts.outputs.values())
    if len(tables) != 1 or has_maps or not height or width < 1.5 * height:
        return False
    steps = [n for n in tables[0] if n and 1 < n <= width]
    return bool(steps) and prod(n or 1 for n in tables[0]) > min(steps) and not _boxes_and_scores(facts)


def _single_map(facts: GraphFacts) -> Shape:
    """The only output of a graph if it is a map (1, C, H, W) larger than a cell; otherwise empty."""
    shapes = list(facts.outputs.values())
    if len(shapes) == 1 and len(shapes[0]) == 3 and (shapes[0][1] or 0) > 1:
        shapes = [(1, *shapes[0])]  # depth models omit the channel
    is_map = len(shapes) == 1 and len(shapes[0]) == 4 and all((n or 0) > 1 for n in shapes[0][2:])
    return shapes[0] if is_map else ()


def _is_plane(facts: GraphFacts) -> bool:
    """One value per pixel, at a quarter of the image's size or more."""
    shape = _single_map(facts)
    height, width = facts.image_hw
    if not shape or not height:
        return False
    return shape[1] == 1 and 4 * (shape[2] or 0) >= height and 4 * (shape[3] or 0) >= width


def _is_planes(facts: GraphFacts) -> bool:
    """Several classes per pixel, at an eighth of the image's size or more, in the image's proportions."""
    shape = _single_map(facts)
    height, width = facts.image_hw
    return bool(shape) and bool(height) and 8 * (shape[2] or 0) >= height and 8 * (shape[3] or 0) >= width


def _is_centers(facts: GraphFacts) -> bool:
    """A heat map of centers at a quarter of the image, with sizes and offsets of two channels."""
    shapes = list(facts.outputs.values())
    quarter = tuple(side // 4 for side in facts.image_hw)
    alike = all(len(shape) == 4 and shape[2:] == quarter for shape in shapes)
    return alike and len(shapes) >= 2 and any(shape[1] == 2 for shape in shapes) and facts.image_hw != (0, 0)


def _is_mediapipe(facts: GraphFacts) -> bool:
    """A score for each anchor, and its box with x and y of some points: (1, N, 1) and (1, N, 4 + 2 k)."""
    widths = _widths(facts)
    others = [width for width in widths if width != 1]
    if len(facts.outputs) != 2 or len(others) != 1 or widths.get(1) != 1 or len(_row_counts(facts)) != 1:
        return False
    return others[0] > 6 and others[0] % 2 == 0 and next(iter(_row_counts(facts))) > facts.cells > 0


def _is_simcc(facts: GraphFacts) -> bool:
    """Two outputs (1, keypoints, bins), for x and y."""
    shapes = [shape for shape in facts.outputs.values() if len(shape) == 3]
    return len(shapes) == len(facts.outputs) == 2 and shapes[0][1] == shapes[1][1] and 4 not in _widths(facts)


def _vectors(facts: GraphFacts) -> bool:
    shapes = list(facts.outputs.values())
    return len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)


def _decreasing_maps(facts: GraphFacts) -> bool:
    """Feature maps of a backbone, each coarser than the previous one and at least as wide."""
    shapes = list(facts.outputs.values())
    sizes = [shape[2] or 0 for shape in shapes if len(shape) == 4]
    widths = [shape[1] or 0 for shape in shapes if len(shape) == 4]
    coarser = all(a > b for a, b in pairwise(sizes)) and all(a < b for a, b in pairwise(widths))
    return len(sizes) == len(shapes) >= 2 and coarser


SUPPRESSED = GraphKind(
    "a detector with suppression inside (NonMaxSuppression or an operator of TensorRT)", suppresses, WITHOUT_NMS
)
UNREAD = (
    SUPPRESSED,
    GraphKind(
        "a Yolo-FastestV2 (anchors that share the classes of their cell) whose last convolutions are not 1x1",
        lambda facts: bool(shared_levels(facts.convs)),
    ),
    GraphKind("a YuNet face detector (scores, boxes and five landmarks of each level)", _is_yunet),
    GraphKind(
        "an SCRFD face detector, or one of its kind (scores, distances, perhaps landmarks of each level)", _is_scrfd
    ),
    GraphKind(
        "a face detector with prior boxes (SSD such as Ultra-Light-Fast-Generic-Face-Detector, or RetinaFace)",
        _is_prior_face,
    ),
    GraphKind("a NanoDet or PicoDet detector (scores and distributions over 8 distances)", _is_distributed_rows),
    GraphKind(
        "a YOLOv6 detector with its decode",
        _is_yolov6,
        "Its raw tensors build: export it with Rockchip's fork (airockchip/YOLOv6), which ends in boxes and scores of "
        "each level.",
    ),
    GraphKind(
        "a detector with queries whose outputs are not scores by a sigmoid and boxes of center and size (DETR, YOLOS)",
        _is_query_detector,
        "RT-DETR, D-FINE, DEIM and RF-DETR build as their packages export them.",
    ),
    GraphKind("an open-vocabulary detector with its classes built in (YOLO-World)", _compares_texts),
    GraphKind(
        "a detector whose boxes are decoded in a separate output (boxes and scores), by no known formula",
        lambda facts: 0 < _boxes_and_scores(facts) == facts.cells,
    ),
    GraphKind("an SSD detector (boxes of priors and their scores)", lambda facts: _boxes_and_scores(facts) > 0),
    GraphKind(
        "a YOLOv3 or YOLOv4 of pytorch-YOLOv4 (boxes and scores)",
        _is_darknet,
        "The darknet weights that it was made from build: rkdeploy build yolov4.weights --cfg yolov4.cfg --names "
        "coco.names",
    ),
    GraphKind(
        "an anchor head without its decode, whose fields are ambiguous (box, objectness, then classes or landmarks)",
        _is_raw_anchors,
        "YOLOv5 builds with its checkpoint: --weights best.pt.",
    ),
    GraphKind(
        "a YOLOv7 whose widths and heights are chosen among bins (IBin)",
        _has_size_bins,
        "Its checkpoint builds: rkdeploy build best.pt.",
    ),
    GraphKind(
        "a detector of MediaPipe's form (BlazeFace, palms: a score for each anchor, and a box with points)",
        _is_mediapipe,
    ),
    GraphKind("a text recognizer (scores of characters along a line, for CTC)", _is_text),
    GraphKind("a keypoint model of one object (SimCC, as RTMPose has it)", _is_simcc),
    GraphKind("a map of one value per pixel, behind operators that are not read", _is_plane),
    GraphKind(
        "a map of several values per pixel, of more than 256 classes or behind operators that are not read", _is_planes
    ),
    GraphKind("a CenterNet detector (heat map, sizes and offsets)", _is_centers),
    GraphKind("a backbone, whose feature maps are not detections", _decreasing_maps),
    GraphKind("a classifier with several heads (attributes)", _vectors),
)
"""Recognized when the head is of no known kind."""
