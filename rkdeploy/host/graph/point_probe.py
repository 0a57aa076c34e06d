"""Probe for an anchor-free head in a graph: the last convolutions, and the meaning of each.

Nothing is looked up by layer name.  The tensor in which the graph puts all decoded rows is found by its shape; then the
graph behind the convolutions is run with one of them changed at a time: the columns that change show what the
convolution holds (the first four are the box, then the classes, then the rest), the rows that change show where its
level lies.  So graphs that continue behind that tensor, with a top-k or suppression, are read as well.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AngleFormula, KeypointLayout
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cell_extras import prototypes_of
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import (
    DecodedField,
    DecodedRows,
    DecodedTensor,
    Head,
    Tap,
    TapRole,
    keypoint_fields,
    row_fields,
)  # fmt: skip
from rkdeploy.host.graph.head_walk import NO_HEAD, HeadConv, is_before, last_convolutions, tail
from rkdeploy.host.graph.session import Session

_SUPPRESSING = frozenset({"NonMaxSuppression", "Trilu"})  # Trilu: of a matrix of overlaps, as for rotated boxes
_HALF_PI_ERROR = 1e-3  # tolerance of pi / 4 in float16 arithmetic: 2 ** -11 for pi, and as much for the difference


@dataclass(frozen=True, slots=True)
class _Probed:
    """The change in the decoded rows when one convolution's output changed.

    Attributes:
        conv: the convolution.
        columns: (first, end) of the columns that changed.
        rows: (first, end) of the rows that changed.
    """

    conv: HeadConv
    columns: tuple[int, int]
    rows: tuple[int, int]


def find_point_head(graph: GraphView) -> Head:
    """Find the anchor-free head of a simplified graph with static shapes.

    Raises:
        GraphError: when there is none, or it is not of a known kind.
    """
    images = [name for name in graph.outputs if len(graph.shape(name)) == 4]
    ends = [name for name in graph.outputs if name not in images]
    convs = last_convolutions(graph, ends)
    table = _decoded_table(graph, convs)
    if table is None:
        found = ", ".join(f"{name} {graph.shapes.get(name, '(unknown shape)')}" for name in graph.outputs)
        raise GraphError(f"The graph has no known head: its outputs are {found}.", NO_HEAD)
    name, columns_first = table
    probe = _Probe(graph, convs, name, columns_first=columns_first)
    levels = [_level([p for p in probe.changes if p.conv.stride == s]) for s in sorted({c.stride for c in convs})]
    return _head(graph, probe, levels, images)


def _decoded_table(graph: GraphView, convs: Sequence[HeadConv]) -> tuple[str, bool] | None:
    """The last tensor with one row per cell and a box and one or more classes: its name, and True if columns come
    first.
    """
    cells = {c.stride: c.shape[2] * c.shape[3] for c in convs}
    rows = sum(cells.values())
    channels = [sum(c.shape[1] for c in convs if c.stride == stride) for stride in cells]
    tensors = {c.tensor for c in convs}
    for name in (name for node in reversed(graph.model.graph.node) for name in node.output):
        shape = graph.shape(name)
        if len(shape) != 3 or shape[0] != 1 or rows not in shape[1:]:
            continue
        columns = shape[2] if shape[1] == rows else shape[1]
        # 4 * bins box channels became 4 columns.
        fits = columns >= 5 and all(n >= columns and (n - columns) % 4 == 0 for n in channels)
        if fits and is_before(graph, tensors, name):
            return name, shape[1] != rows
    return None


class _Probe:
    """The graph behind the convolutions, run on zeros and on changes of them."""

    def __init__(self, graph: GraphView, convs: Sequence[HeadConv], output: str, *, columns_first: bool) -> None:
        self.output, self.columns_first = output, columns_first
        self._session = Session(tail(graph, convs, output))
        self._zeros = {c.tensor: np.zeros(c.shape, np.float32) for c in convs}
        self.base = self.run({})
        self.changes = [self._change(conv) for conv in convs]

    def run(self, changed: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The decoded rows (rows, columns) when the convolutions give zeros, except for those named."""
        table: NDArray[np.float32] = self._session.run(self._zeros | changed)[self.output][0]
        return table.T if self.columns_first else table

    def _change(self, conv: HeadConv) -> _Probed:
        noise = np.random.default_rng(0).uniform(1.0, 3.0, conv.shape).astype(np.float32)
        changed = np.abs(self.run({conv.tensor: noise}) - self.base) > 1e-6
        columns, rows = (np.flatnonzero(changed.any(axis=axis)) for axis in (0, 1))
        if not columns.size:
            raise GraphError(f'Convolution "{conv.node}" changes nothing in "{self.output}".', NO_HEAD)
        return _Probed(conv, (int(columns[0]), int(columns[-1]) + 1), (int(rows[0]), int(rows[-1]) + 1))


def _level(parts: list[_Probed]) -> list[_Probed]:
    """The convolutions of one level in the order of their columns: box, scores, others.

    Raises:
        GraphError: when they are not these.
    """
    parts.sort(key=lambda p: p.columns)
    box, *others = parts
    start = 4
    fits = box.columns == (0, 4) and box.conv.shape[1] % 4 == 0 and 1 <= len(others) <= 2
    for part in others:
        fits = fits and part.columns == (start, start + part.conv.shape[1]) and part.rows == box.rows
        start = part.columns[1]
    if not fits:
        listed = "; ".join(f"{p.conv.node} {p.conv.shape}: columns {p.columns[0]} to {p.columns[1] - 1}" for p in parts)
        raise GraphError(
            f"The head at stride {box.conv.stride} is of no known kind ({listed}); expected four box columns, then one "
            "for each channel of the other convolutions.",
            NO_HEAD,
        )
    return parts


def _head(graph: GraphView, probe: _Probe, levels: list[list[_Probed]], images: list[str]) -> Head:
    classes = levels[0][1].conv.shape[1]
    extra = levels[0][2].conv.shape[1] if len(levels[0]) > 2 else 0
    first = 4 + classes
    fields = row_fields({"xy": ("px", 2), "wh": ("px", 2), "scores": ("score", classes)})
    keypoints, angle, masks = None, None, 0
    tensors: tuple[DecodedTensor, ...] = ()
    roles: list[TapRole] = ["dfl_boxes" if levels[0][0].conv.shape[1] > 4 else "ltrb_boxes", "scores"]
    prototypes = [name for name in images if graph.shape(name)[1] == extra]
    taps: list[Tap] = []
    if extra and prototypes:
        masks = extra
        roles.append("mask_coefficients")
        fields += (DecodedField("coefficients", "value", tuple(range(first, first + masks))),)
        tensors = (prototypes_of(graph, prototypes[0])[1],)
    elif extra == 1:
        roles.append("angles")
        angle = _angle(float(probe.base[0, first]))
        fields += (DecodedField("angle", "rad", (first,)),)
    elif extra:
        roles.append("keypoints")
        keypoints = _keypoints(graph, probe, levels[0], first, extra)
        fields += keypoint_fields(first, keypoints.count, 3 if keypoints.scored else 2)
    for number, parts in enumerate(levels):
        taps += [
            Tap(p.conv.node, p.conv.tensor, role, p.conv.shape, p.conv.stride, number)
            for p, role in zip(parts, roles, strict=True)
        ]
    if masks:
        taps.append(prototypes_of(graph, prototypes[0])[0])
    start, end = max((parts[0].rows for parts in levels), key=lambda rows: rows[1] - rows[0])
    corners = are_corners(probe.base[start:end, :4])
    order = sorted(range(len(levels)), key=lambda level: levels[level][0].rows)
    rows = DecodedRows(
        output=probe.output,
        fields=fields,
        columns_first=probe.columns_first,
        corners=corners,
        level_order=tuple(order),
        level_rows=tuple(parts[0].conv.shape[2] * parts[0].conv.shape[3] for parts in levels),
    )
    # Exporters write corners for heads that give each object once, and centers for those that need suppression.
    ops = {node.op_type for node in graph.model.graph.node}
    once = corners or (probe.output not in graph.outputs and "TopK" in ops)
    end_to_end = once and _SUPPRESSING.isdisjoint(ops)
    return Head(
        tuple(taps), classes, masks, rows=rows, tensors=tensors, end_to_end=end_to_end, keypoints=keypoints, angle=angle
    )


def are_corners(boxes: NDArray[np.floating[Any]]) -> bool:
    """True if boxes are two corners, False if they are center and size.

    All boxes have the same size when the convolutions give zeros, so that a second corner moves from cell to cell as
    far as the first, and a width by no more than a quantized decode is rounded (some pixels).

    Args:
        boxes: (cells of one level, 4) for convolutions that give zeros, in px.
    """
    extents = np.ptp(boxes, axis=0)
    return bool(extents[2:].max() > 0.5 * extents[:2].max())


def _angle(at_zero: float) -> AngleFormula:
    """The formula, from its value for zero."""
    if abs(at_zero - 0.25 * pi) < 1e-4:
        return AngleFormula(sigmoid=True, gain=pi, offset=-0.25 * pi)
    if abs(at_zero - 0.25 * pi) < _HALF_PI_ERROR:  # exported in float16: this graph uses the rounded pi
        return AngleFormula(sigmoid=True, gain=4 * at_zero, offset=-at_zero)
    if abs(at_zero) < 1e-6:
        return AngleFormula(sigmoid=False, gain=1.0, offset=0.0)
    raise GraphError(f"The head's angle is {at_zero:.4f} for a raw value of zero, expected 0.7854 or 0.", NO_HEAD)


def _keypoints(graph: GraphView, probe: _Probe, level: list[_Probed], first: int, channels: int) -> KeypointLayout:
    """Formula of the keypoints: the first cell's x for raw 0 and 1 gives offset and gain; scores stay below 1."""
    conv, row = level[2].conv, level[2].rows[0]
    ones = probe.run({conv.tensor: np.full(conv.shape, 50.0, np.float32)})[row, first : first + channels]
    scored = channels % 3 == 0 and bool((np.abs(ones[2::3] - 1) < 1e-6).all())
    dimensions = 3 if scored else 2
    if channels % dimensions:
        raise GraphError(f"The head has {channels} keypoint channels, which are not pairs or triples.", NO_HEAD)
    written = next((p.value for p in graph.model.metadata_props if p.key == "kpt_shape"), None)
    if written is not None and _parsed(written) != [channels // dimensions, dimensions]:
        raise GraphError(
            f'The metadata entry "kpt_shape" is {written!r:.40}, but the graph computes {channels // dimensions} '
            f"keypoints of {dimensions} values.",
            "The file was changed after its export; export it again.",
        )
    zero = float(probe.base[row, first])
    gain = (float(ones[0]) - zero) / (50 * conv.stride)
    return KeypointLayout(channels // dimensions, scored, round(gain, 4), round(zero / conv.stride, 4))


def _parsed(text: str) -> object:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return list(value) if isinstance(value, (list, tuple)) else None
