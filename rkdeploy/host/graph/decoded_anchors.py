"""Finds anchor heads whose graph decodes boxes and scores in two tables, such as pytorch-YOLOv4's.

The graph behind the last convolutions is run on zeros and on noise.  Of zeros the decode makes the centers of the cells
and the anchors themselves; noise then shows the gain of centers, the formula of sizes and that of the scores.  A
reading counts only if every row of the noise follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedField, DecodedRows, DecodedTable, Head, Tap, as_table
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.session import Session

_REGULAR = 1e-3  # of a stride or a side
_FOLLOWS = 2e-4  # of the image's longer side, for float32's exp
_SCORES_FOLLOW = 1e-5
_MAX_LEVELS = 8
_MAX_ANCHORS = 16
_GAINS = (1.0, 4.0)
_NOISE = 2.0

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Tables:
    """The two outputs.

    Attributes:
        boxes, scores: names of the outputs.
        columns_first: of the scores, (1, classes, rows) instead of (1, rows, classes).
        classes: number of classes.
        rows: number of rows.
    """

    boxes: str
    scores: str
    columns_first: bool
    classes: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Level:
    """Rows of one level in the tables, (anchors, cells, 4) in pixels, center and size.

    Attributes:
        conv: last convolution of the level.
        start: first row.
        anchors: (anchors, 2) width and height.
    """

    conv: HeadConv
    start: int
    anchors: Values

    @property
    def grid(self) -> tuple[int, int, int]:
        """Anchors, rows and columns."""
        return len(self.anchors), *self.conv.shape[2:]

    @property
    def rows(self) -> slice:
        """Place in the tables."""
        count = self.grid[0] * self.grid[1] * self.grid[2]
        return slice(self.start, self.start + count)

    def raw(self, noise: NDArray[np.float32]) -> Values:
        """Raw fields of each row, (rows, fields), of the convolution's (1, C, H, W)."""
        count, height, width = self.grid
        fields = noise.reshape(count, -1, height * width).astype(np.float64)
        return fields.transpose(0, 2, 1).reshape(count * height * width, -1)


def find_decoded_anchors(graph: GraphView, outputs: Sequence[str]) -> Head | None:
    """Find the head of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        None when the graph has no two tables that a known formula gives.
    """
    try:
        convs = last_convolutions(graph, outputs)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    if not 0 < len(convs) <= _MAX_LEVELS or len({conv.stride for conv in convs}) < len(convs):
        return None
    tables = _tables(graph, outputs)
    if tables is None or not _fits(convs, tables):
        return None
    rng = np.random.default_rng(0)
    noise = {conv.tensor: rng.uniform(-_NOISE, _NOISE, conv.shape).astype(np.float32) for conv in convs}
    try:
        session = Session(tail(graph, convs, tables.boxes, tables.scores))
        zeros = session.run({conv.tensor: np.zeros(conv.shape, np.float32) for conv in convs})
        shown = session.run(noise)
        given, anchored, scores = (
            as_table(values) for values in (shown[tables.boxes], zeros[tables.boxes], shown[tables.scores])
        )
    except GraphError:
        return None
    scores = scores.T if tables.columns_first else scores
    if given.shape != (tables.rows, 4) or scores.shape != (tables.rows, tables.classes):
        return None
    for corners, fractions_of in _forms(graph):
        levels = _levels(_as_centers(anchored, fractions_of, corners=corners), convs, tables)
        if levels is None:
            continue
        formula = _formula(_as_centers(given, fractions_of, corners=corners), levels, noise, graph)
        if formula is not None and _scores_follow(scores, levels, noise):
            return _head(tables, levels, formula, corners=corners, fractions_of=fractions_of)
    return None


def _forms(graph: GraphView) -> Iterator[tuple[bool, tuple[int, int] | None]]:
    """Forms of boxes: corners or center and size, in fractions of the image or in pixels."""
    height, width = graph.image_shape[2:]
    for corners in (True, False):
        yield corners, (width, height)
        yield corners, None


def _tables(graph: GraphView, outputs: Sequence[str]) -> _Tables | None:
    """Boxes (1, rows, 4) and scores (1, rows, classes) or (1, classes, rows), with further axes of 1."""
    shapes = {name: tuple(n for n in graph.shape(name)[1:-1] if n != 1) + graph.shape(name)[-1:] for name in outputs}
    boxes = [name for name, shape in shapes.items() if len(shape) == 2 and shape[1] == 4]
    if len(outputs) != 2 or not boxes:
        return None
    for name in boxes:
        rows = shapes[name][0]
        other = next(each for each in outputs if each != name)
        whole = graph.shape(other)[1:]
        if len(whole) == 2 and whole[0] == rows:
            return _Tables(name, other, columns_first=False, classes=whole[1], rows=rows)
        if len(whole) == 2 and whole[1] == rows:
            return _Tables(name, other, columns_first=True, classes=whole[0], rows=rows)
    return None


def _fits(convs: Sequence[HeadConv], tables: _Tables) -> bool:
    """True if box, objectness and classes of some anchors are the convolutions' channels, and make up the rows."""
    fields = 5 + tables.classes
    if any(conv.shape[1] % fields or conv.shape[1] // fields > _MAX_ANCHORS for conv in convs):
        return False
    return sum(conv.shape[1] // fields * conv.shape[2] * conv.shape[3] for conv in convs) == tables.rows


def _as_centers(rows: NDArray[np.float32], scale: tuple[int, int] | None, *, corners: bool) -> Values:
    """Center and size in pixels, (rows, 4)."""
    width, height = scale or (1, 1)
    pixels: Values = rows.astype(np.float64) * (width, height, width, height)
    if not corners:
        return pixels
    low, high = pixels[:, :2], pixels[:, 2:]
    return np.concatenate(((low + high) / 2, high - low), axis=1)


def _levels(zeros: Values, convs: Sequence[HeadConv], tables: _Tables) -> tuple[_Level, ...] | None:
    """The levels in the order of the rows; None where rows of zeros are not cells' centers and anchors."""
    found: list[_Level] = []
    left, start = list(convs), 0
    while left:
        level = next((one for conv in left if (one := _level(zeros, conv, start, tables)) is not None), None)
        if level is None:
            return None
        found.append(level)
        left.remove(level.conv)
        start = level.rows.stop
    return tuple(found)


def _level(zeros: Values, conv: HeadConv, start: int, tables: _Tables) -> _Level | None:
    """The level of a convolution, if its rows begin here: anchor by anchor, row by row."""
    count = conv.shape[1] // (5 + tables.classes)
    height, width = conv.shape[2:]
    rows = zeros[start : start + count * height * width]
    if len(rows) < count * height * width:
        return None
    of_cells = rows.reshape(count, height * width, 4)
    y, x = np.indices((height, width)).reshape(2, -1) + 0.5
    centers = np.stack((x, y), axis=1) * conv.stride
    sizes = of_cells[..., 2:]
    if not np.isfinite(of_cells).all() or sizes.min() <= 0:
        return None
    apart = np.abs(of_cells[..., :2] - centers).max() / conv.stride
    spread = (np.ptp(sizes, axis=1) / sizes.mean(axis=1)).max()
    if max(apart, spread) > _REGULAR:
        return None
    return _Level(conv, start, sizes.mean(axis=1))


def _formula(
    shown: Values, levels: Sequence[_Level], noise: Mapping[str, NDArray[np.float32]], graph: GraphView
) -> AnchorFormula | None:
    """The formula of boxes that every row of the noise follows."""
    gains: dict[int, float] = {}
    sizes: set[Literal["square", "exp"]] = {"square", "exp"}
    allowed = _FOLLOWS * max(graph.image_shape[2:])
    for level in levels:
        raw, boxes = level.raw(noise[level.conv.tensor]), shown[level.rows]
        count, height, width = level.grid
        y, x = np.indices((height, width)).reshape(2, -1) + 0.5
        middle = np.tile(np.stack((x, y), axis=1), (count, 1))
        probability = 1 / (1 + np.exp(-raw[:, :4]))
        moved = boxes[:, :2] / level.conv.stride - middle
        gain = round(float(np.median(moved / (probability[:, :2] - 0.5))), 4)
        expected = ((probability[:, :2] - 0.5) * gain + middle) * level.conv.stride
        if not (_GAINS[0] <= gain <= _GAINS[1] and np.abs(expected - boxes[:, :2]).max() <= allowed):
            return None
        gains[level.conv.stride] = gain
        anchors = np.repeat(level.anchors, height * width, axis=0)
        made: dict[Literal["square", "exp"], Values] = {
            "exp": np.exp(raw[:, 2:4]) * anchors,
            "square": (2 * probability[:, 2:]) ** 2 * anchors,
        }
        sizes &= {name for name, values in made.items() if np.abs(values - boxes[:, 2:]).max() <= allowed}
    if len(sizes) != 1:
        return None
    ordered = tuple(gain for _, gain in sorted(gains.items()))
    return AnchorFormula(ordered[:1] if len(set(ordered)) == 1 else ordered, next(iter(sizes)))


def _scores_follow(
    scores: NDArray[np.float32], levels: Sequence[_Level], noise: Mapping[str, NDArray[np.float32]]
) -> bool:
    """True if scores are objectness times classes, each by a sigmoid."""
    for level in levels:
        probability = 1 / (1 + np.exp(-level.raw(noise[level.conv.tensor])[:, 4:]))
        if np.abs(probability[:, :1] * probability[:, 1:] - scores[level.rows]).max() > _SCORES_FOLLOW:
            return False
    return True


def _head(
    tables: _Tables,
    levels: Sequence[_Level],
    formula: AnchorFormula,
    *,
    corners: bool,
    fractions_of: tuple[int, int] | None,
) -> Head | None:
    by_stride = sorted(levels, key=lambda level: level.conv.stride)
    counts = {len(level.anchors) for level in levels}
    if len(counts) > 1:
        return None
    taps = tuple(
        Tap(level.conv.node, level.conv.tensor, "anchor_map", level.conv.shape, level.conv.stride, number)
        for number, level in enumerate(by_stride)
    )
    scores = DecodedField("scores", "score", tuple(range(tables.classes)))
    usual = formula == AnchorFormula()
    return Head(
        taps,
        tables.classes,
        anchors=Anchors(tuple(tuple((_whole(w), _whole(h)) for w, h in level.anchors) for level in by_stride)),
        anchors_per_level=next(iter(counts)),
        rows=DecodedRows(
            tables.boxes,
            (DecodedField("xy", "px", (0, 1)), DecodedField("wh", "px", (2, 3))),
            columns_first=False,
            corners=corners,
            level_order=tuple(by_stride.index(level) for level in levels),
            level_rows=tuple(level.rows.stop - level.rows.start for level in by_stride),
            others=(DecodedTable(tables.scores, (scores,), tables.columns_first),),
            fractions_of=fractions_of,
        ),
        anchor_formula=None if usual else formula,
    )


def _whole(pixels: float) -> float:
    """A length without float32's noise, where it is a whole number of pixels."""
    near = round(float(pixels), 4)
    return float(round(near)) if abs(near - round(near)) < _REGULAR * 0.5 else near
