"""Outputs that list several boxes per cell: each traced to the last convolutions behind it.

SSD's and SCRFD's exporters lay the channels of a convolution, (n * fields, H, W), as rows, (H * W * n, fields): those
of one level, or of all one after the other.  The graph behind the convolutions is run on noise: an output shows it as
it was given, its sigmoid, or its softmax over a row; or something computed, such as boxes in pixels, which the probe of
the head asks about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_walk import HeadConv, require_plausible_size, tail
from rkdeploy.host.graph.session import Session

_TOLERANCE = 1e-5  # float32's softmax on values up to 3
_MAX_OUTPUTS = 32
_MAX_CONVOLUTIONS = 48
_MAX_FIELDS = 512

Table = NDArray[np.float32]
"""Rows of an output, (rows, fields)."""


@dataclass(frozen=True, slots=True)
class BoxMap:
    """The rows of one convolution in an output.

    Attributes:
        conv: the convolution, with n * fields channels.
        per_cell: boxes per cell, n.
        fields: columns of the output.
        activation: activation between the two; None where the columns are computed otherwise.
        output: name of the graph's output.
        start: row at which they begin.
    """

    conv: HeadConv
    per_cell: int
    fields: int
    activation: Activation | None
    output: str
    start: int

    @property
    def rows(self) -> slice:
        """Place in the output."""
        return slice(self.start, self.start + self.per_cell * self.conv.shape[2] * self.conv.shape[3])


@dataclass(frozen=True, slots=True)
class BoxTables:
    """The outputs of a head with several boxes per cell.

    Attributes:
        graph: the graph.
        levels: the maps of each level, finest level first.
        noise: what the convolutions were given, by tensor.
        shown: what the outputs then were, by name.
    """

    graph: GraphView
    levels: tuple[tuple[BoxMap, ...], ...]
    noise: Mapping[str, NDArray[np.float32]]
    shown: Mapping[str, Table]

    def given(self, part: BoxMap) -> Table:
        """The noise of a map as the rows that it would be without an activation."""
        return raw_rows(self.noise[part.conv.tensor], part.per_cell)

    def of(self, part: BoxMap) -> Table:
        """The output's rows of a map."""
        return self.shown[part.output][part.rows]

    def on_zeros(self) -> Mapping[str, Table]:
        """The outputs when all convolutions give zeros."""
        convs = {part.conv.tensor: part.conv for level in self.levels for part in level}
        return _run(
            self.graph,
            tuple(convs.values()),
            tuple(self.shown),
            {name: np.zeros_like(values) for name, values in self.noise.items() if name in convs},
        )


def raw_rows(values: NDArray[np.float32], per_cell: int) -> Table:
    """(1, n * fields, H, W) as (H * W * n, fields)."""
    _, channels, height, width = values.shape
    split = values.reshape(per_cell, channels // per_cell, height, width)
    return np.ascontiguousarray(split.transpose(2, 3, 0, 1)).reshape(-1, channels // per_cell)


def trace_boxes(graph: GraphView, outputs: Sequence[str]) -> BoxTables | None:
    """Trace the outputs of a simplified graph with static shapes.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        The maps by level; None where an output is of another form, or every cell has one box.
    """
    if not 1 < len(outputs) <= _MAX_OUTPUTS:
        return None
    behind: dict[str, tuple[int, tuple[HeadConv, ...]]] = {}
    for name in outputs:
        found = _convolutions(graph, name)
        if found is None:
            return None
        behind[name] = found
    convs = {conv.tensor: conv for _, of_output in behind.values() for conv in of_output}
    if len(convs) > _MAX_CONVOLUTIONS:
        return None
    rng = np.random.default_rng(0)
    noise = {name: rng.uniform(-3, 3, conv.shape).astype(np.float32) for name, conv in convs.items()}
    try:
        shown = _run(graph, tuple(convs.values()), tuple(outputs), noise)
    except GraphError:  # whatever reads the graph next says what is wrong
        return None
    maps = [part for name in outputs for part in _maps(name, *behind[name], shown[name], noise)]
    grids = sorted({part.conv.shape[2:] for part in maps}, key=math.prod, reverse=True)
    levels = tuple(tuple(part for part in maps if part.conv.shape[2:] == grid) for grid in grids)
    same = all(len({part.per_cell for part in level}) == 1 for level in levels)
    several = any(part.per_cell > 1 for part in maps)
    return BoxTables(graph, levels, noise, shown) if same and several else None


def _convolutions(graph: GraphView, output: str) -> tuple[int, tuple[HeadConv, ...]] | None:
    """Fields of an output and the convolutions behind it, finest first; None where they do not make up its rows."""
    shape = graph.shape(output)
    convs: list[HeadConv] = []
    for tensor, node in graph.back([output], through=lambda node: node.op_type != "Conv"):
        if node.op_type != "Conv":
            continue
        of_conv = graph.shape(tensor)
        end = _scaled(graph, tensor)
        stride = cell_stride(graph.image_shape[2:], of_conv[2:])
        if stride is None or len(of_conv) != 4 or len(convs) == _MAX_CONVOLUTIONS:
            return None
        require_plausible_size(node.name or tensor, of_conv)
        convs.append(HeadConv(node.name or tensor, end, of_conv, stride))
    if not convs or len(shape) < 2 or not 1 <= shape[-1] <= _MAX_FIELDS:
        return None
    convs.sort(key=lambda conv: -conv.shape[2] * conv.shape[3])
    if len(convs) == 1 and len(shape) == 4 and shape[1:] == convs[0].shape[1:]:
        return None  # a map of its own, whose fields nothing says
    fields, rows = shape[-1], math.prod(shape[:-1])
    if any(conv.shape[1] % fields or conv.shape[1] < fields for conv in convs):
        return None
    return (fields, tuple(convs)) if sum(math.prod(c.shape[1:]) // fields for c in convs) == rows else None


def _scaled(graph: GraphView, tensor: str) -> str:
    """The tensor behind a factor that a convolution's output is multiplied by (SCRFD's scale of each level)."""
    consumers = graph.consumers(tensor)
    if len(consumers) != 1 or consumers[0].op_type != "Mul":
        return tensor
    factors = [graph.value(name) for name in consumers[0].input if name != tensor]
    return consumers[0].output[0] if factors and factors[0] is not None and factors[0].size == 1 else tensor


def cell_stride(image: Sequence[int], grid: Sequence[int]) -> int | None:
    """The stride of a level, rounded up; None where these cells have none.

    Args:
        image: height and width of the input in pixels.
        grid: rows and columns.
    """
    if len(image) != 2 or len(grid) != 2 or min(*image, *grid) < 1:
        return None
    least, most = (max(-(-side // (n + over)) for side, n in zip(image, grid, strict=True)) for over in (1, 0))
    fits = [
        s for s in range(max(1, least), 2 * most + 2) if all(-(-i // s) == n for i, n in zip(image, grid, strict=True))
    ]
    powers = [s for s in fits if s & (s - 1) == 0]
    exact = [s for s in fits if all(s * n == side for side, n in zip(image, grid, strict=True))]
    return next(iter((*exact, *powers, *fits)), None)


def _run(
    graph: GraphView, convs: Sequence[HeadConv], outputs: Iterable[str], values: Mapping[str, NDArray[np.float32]]
) -> dict[str, Table]:
    """The outputs for given values of the convolutions, (rows, fields) each."""
    shown = Session(tail(graph, convs, *outputs)).run(dict(values))
    return {name: table.reshape(-1, table.shape[-1]) for name, table in shown.items()}


def _maps(
    name: str, fields: int, convs: Sequence[HeadConv], table: Table, noise: Mapping[str, NDArray[np.float32]]
) -> list[BoxMap]:
    """The convolutions of an output in the order of its rows, as far as they show; else finest first."""
    maps: list[BoxMap] = []
    start, left = 0, list(convs)
    while left:
        for conv in left:
            per_cell = conv.shape[1] // fields
            rows = table[start : start + math.prod(conv.shape[1:]) // fields]
            activation = _activation(raw_rows(noise[conv.tensor], per_cell), rows)
            if activation is not None:
                break
        else:
            conv, activation = left[0], None
        left.remove(conv)
        maps.append(BoxMap(conv, conv.shape[1] // fields, fields, activation, name, start))
        start = maps[-1].rows.stop
    return maps


def _activation(given: Table, rows: Table) -> Activation | None:
    """The activation that makes rows of the raw ones; None where none does."""
    if given.shape != rows.shape:
        return None
    powers = np.exp(given)
    choices: dict[Activation, Table] = {"linear": given, "sigmoid": powers / (1 + powers)}
    if given.shape[1] > 1:
        choices["softmax"] = powers / powers.sum(axis=1, keepdims=True)
    return next((name for name, made in choices.items() if np.abs(made - rows).max() <= _TOLERANCE), None)
