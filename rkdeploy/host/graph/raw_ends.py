"""Raw tensors that a graph without a decode ends in: every output, traced to the last convolutions behind it.

Rockchip's forks of the trainers export such graphs: the box convolution as it is, the sigmoid of the score convolution,
the sum of all scores of a cell, or several of these concatenated; in any order and under any name.  Nothing is looked
up by name.  The graph behind the last convolutions is run on noise, and each output is compared with the
convolutions' values: equal, their sigmoid, or several of them one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_walk import HeadConv, last_convolutions, tail
from rkdeploy.host.graph.session import Session

_TOLERANCE = 1e-5  # float32's sigmoid on values up to 3
_MAX_OUTPUTS = 64  # 5 levels of 4 tensors and a prototype make 21
_MAX_CONVOLUTIONS = 64

Noise: TypeAlias = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class RawEnd:
    """A last convolution that appears in the graph's outputs.

    Attributes:
        conv: the convolution.
        activation: activation before the output.
        per_cell: the output is a map of the level, (1, C, H, W); otherwise one row of all levels' cells.
        keypoints: the output is decoded keypoints, computed from this convolution's raw ones.
    """

    conv: HeadConv
    activation: Activation
    per_cell: bool = True
    keypoints: DecodedKeypoints | None = None


@dataclass(frozen=True, slots=True)
class DecodedKeypoints:
    """Keypoints that the graph decodes: x = (raw * gain + cell_x + offset) * stride, same for y; score =
    sigmoid(raw).
    """

    count: int
    scored: bool
    gain: float
    offset: float


@dataclass(frozen=True, slots=True)
class Prototypes:
    """The output that mask coefficients combine: its name and (1, nm, H, W)."""

    output: str
    shape: tuple[int, int, int, int]


@dataclass(slots=True)
class RawEnds:
    """The raw tensors of a graph.

    Attributes:
        levels: the ends of each level, finest first, in the order of the outputs.
        prototypes: of a segmentation model, else None.
        sums: redundant outputs, such as the sum of a cell's scores.
    """

    levels: tuple[tuple[RawEnd, ...], ...]
    prototypes: Prototypes | None
    sums: tuple[str, ...] = field(default=())


def find_raw_ends(graph: GraphView, outputs: Sequence[str]) -> RawEnds | None:
    """Trace the outputs of a simplified graph with static shapes to its last convolutions.

    Args:
        graph: the graph.
        outputs: those of the head.

    Returns:
        None when an output is anything else: the graph has a decode, or is of another kind.
    """
    if len(outputs) > _MAX_OUTPUTS or any(len(graph.shape(name)) not in (3, 4) for name in outputs):
        return None
    prototypes = _prototypes(graph, outputs)
    names = [name for name in outputs if prototypes is None or name != prototypes.output]
    try:
        convs = last_convolutions(graph, names)
    except GraphError:  # the next reader of the graph reports the error
        return None
    grids = {conv.shape[2:] for conv in convs}
    if len(convs) > _MAX_CONVOLUTIONS or not any(graph.shape(name)[2:] in grids for name in names):
        return None
    return _traced(_Trace(graph, convs, names), names, prototypes)


def _prototypes(graph: GraphView, outputs: Sequence[str]) -> Prototypes | None:
    """The map that is finer than all others, if those have as many coefficients."""
    maps = [name for name in outputs if _stride(graph, name)]
    maps.sort(key=lambda name: -graph.shape(name)[2])
    if len(maps) < 2 or graph.shape(maps[0])[2] <= graph.shape(maps[1])[2]:
        return None
    n, c, h, w = graph.shape(maps[0])
    widths = [graph.shape(name)[1] for name in maps[1:]]
    grids = Counter(graph.shape(name)[2:] for name in maps[1:])
    is_level = c in widths and min(grids.values()) < 2  # levels with one map each, all equal
    if is_level or c < 2 or not any(width % c == 0 for width in widths):
        return None
    return Prototypes(maps[0], (n, c, h, w))


def _stride(graph: GraphView, name: str) -> int:
    """Input pixels per cell of a map (1, C, H, W); 0 for a tensor that is not a map of the image."""
    shape = graph.shape(name)
    height, width = graph.image_shape[2:]
    if len(shape) != 4 or height % shape[2] or width % shape[3] or height // shape[2] != width // shape[3]:
        return 0
    return height // shape[2]


class _Trace:
    """The convolutions with noise as their outputs, and the graph's outputs for it."""

    def __init__(self, graph: GraphView, convs: Sequence[HeadConv], outputs: Sequence[str]) -> None:
        rng = np.random.default_rng(0)
        self.noise: Noise = {c.tensor: rng.uniform(-3, 3, c.shape).astype(np.float32) for c in convs}
        strides = sorted({conv.stride for conv in convs})
        self.levels = [[conv for conv in convs if conv.stride == stride] for stride in strides]
        computed = [name for name in outputs if name not in self.noise]
        self.values: dict[str, NDArray[np.float32]] = {n: v for n, v in self.noise.items() if n in outputs}
        if computed:
            self.values |= Session(tail(graph, convs, *computed)).run(self.noise)

    def cells(self, conv: HeadConv) -> NDArray[np.float32]:
        """The noise of a convolution, (C, H * W)."""
        return self.noise[conv.tensor].reshape(conv.shape[1], -1)

    def map_ends(self, name: str) -> list[RawEnd] | None:
        """The convolutions of one level that a map (1, C, H, W) consists of, in order; None if it does not."""
        values = self.values[name]
        found: list[RawEnd] = []
        at = 0
        level = next((convs for convs in self.levels if convs[0].shape[2:] == values.shape[2:]), [])
        while at < values.shape[1]:
            end = next((e for conv in level if (e := self._end_at(conv, values[0, at:])) is not None), None)
            if end is None:
                return None
            found.append(end)
            at += end.conv.shape[1]
        return found

    def _end_at(self, conv: HeadConv, values: NDArray[np.float32]) -> RawEnd | None:
        channels = conv.shape[1]
        shown = values[:channels].reshape(-1, self.cells(conv).shape[1])
        activation = _activation(shown, self.cells(conv))
        return None if activation is None else RawEnd(conv, activation)

    def row_ends(self, name: str) -> list[RawEnd] | None:
        """The convolutions, one per level, that an output with all cells side by side shows or decodes."""
        values = self.values[name]
        cells = sum(convs[0].shape[2] * convs[0].shape[3] for convs in self.levels)
        if values.shape[0] != 1 or values.shape[-1] != cells:
            return None
        flat = values.reshape(-1, cells)
        for convs in self._one_per_level(flat.shape[0]):
            for order in (convs, convs[::-1]):
                raw = np.concatenate([self.cells(conv) for conv in order], axis=1)
                activation = _activation(flat, raw)
                if activation is not None:
                    return [RawEnd(conv, activation, per_cell=False) for conv in convs]
                layout = _keypoint_layout(values, raw, order)
                if layout is not None:
                    return [RawEnd(conv, "linear", per_cell=False, keypoints=layout) for conv in convs]
        return None

    def _one_per_level(self, channels: int) -> list[list[HeadConv]]:
        """Convolutions with this number of channels, the first of every level, the second, ..."""
        fitting = [[conv for conv in convs if conv.shape[1] == channels] for convs in self.levels]
        return [list(convs) for convs in zip(*fitting, strict=False)]


def _traced(trace: _Trace, names: Sequence[str], prototypes: Prototypes | None) -> RawEnds | None:
    ends: dict[str, RawEnd] = {}
    sums: list[str] = []
    for name in names:
        found = trace.map_ends(name) if trace.values[name].ndim == 4 else None
        found = found or trace.row_ends(name)
        if found is None:
            if trace.values[name].ndim != 4 or trace.values[name].shape[1] != 1:
                return None
            sums.append(name)
            continue
        for end in found:
            ends.setdefault(end.conv.tensor, end)
    if any(conv.tensor not in ends for convs in trace.levels for conv in convs):
        return None
    rank = {tensor: place for place, tensor in enumerate(ends)}
    levels = tuple(
        tuple(ends[conv.tensor] for conv in sorted(convs, key=lambda c: rank[c.tensor])) for convs in trace.levels
    )
    return RawEnds(levels, prototypes, tuple(sums))


def _activation(shown: NDArray[np.float32], raw: NDArray[np.float32]) -> Activation | None:
    """The activation that turns `raw` into `shown`, both (C, cells); None for anything other than none or a sigmoid."""
    if shown.shape != raw.shape:
        return None
    if np.abs(shown - raw).max(initial=0.0) <= _TOLERANCE:
        return "linear"
    return "sigmoid" if np.abs(shown - 1 / (1 + np.exp(-raw))).max(initial=0.0) <= _TOLERANCE else None


def _keypoint_layout(
    values: NDArray[np.float32], raw: NDArray[np.float32], convs: Sequence[HeadConv]
) -> DecodedKeypoints | None:
    """The formula that computes `values` (1, K, 2 or 3, cells) from `raw` (K * (2 or 3), cells); None if there is
    none.
    """
    if values.ndim != 4 or values.shape[2] not in (2, 3):
        return None
    count, dimensions = values.shape[1], values.shape[2]
    given = raw.reshape(count, dimensions, -1)
    cell_xy = np.concatenate([np.indices(c.shape[2:])[::-1].reshape(2, -1) for c in convs], axis=1)
    stride = np.concatenate([np.full(c.shape[2] * c.shape[3], c.stride) for c in convs])
    beyond_cell = values[0, :, :2] / stride - cell_xy
    gain, offset = np.polyfit(given[:, :2].ravel().astype(np.float64), beyond_cell.ravel().astype(np.float64), 1)
    gain, offset = round(float(gain), 4), round(float(offset), 4)
    expected = (given[:, :2] * gain + offset + cell_xy) * stride
    fits = np.abs(values[0, :, :2] - expected).max() <= 1e-3 * float(stride.max())
    if dimensions == 3:
        fits = fits and _activation(values[0, :, 2], given[:, 2]) == "sigmoid"
    return DecodedKeypoints(count, dimensions == 3, gain, offset) if fits else None
