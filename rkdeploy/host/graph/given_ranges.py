"""Quantization that an ONNX file brings for its activations, by tensor, as the toolkit's INT8 has it.

The file rounds activations where its QuantizeLinear, DequantizeLinear and QLinear operators stand; the float form
(`float_weights.py`) leaves these out and keeps the tensors' names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.host.graph.cut import output_of, tap_parts
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.graph_view import GraphView, attributes
from rkdeploy.host.graph.head import Head

Grid = tuple[float, int]
"""Scale and zero point: real = (integer - zero point) * scale, integers from -128 to 127."""
Grids = dict[str, Grid]

_LOW, _HIGH, _STEPS = -128, 127, 255
_UNSIGNED_SHIFT: Final = 128
_PAIRS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_PLACES: Final[Mapping[str, int]] = {
    "QLinearConv": 6, "QLinearMatMul": 6, "QLinearAdd": 6, "QLinearMul": 6, "QGemm": 7, "QLinearConcat": 0,
    "QLinearSigmoid": 3, "QLinearLeakyRelu": 3, "QLinearSoftmax": 3, "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3,
}  # fmt: skip
"""Operators of integers -> the input that is the scale of their output; its zero point follows."""
_DEFAULT_TYPES: Final[Mapping[int, type[np.generic]]] = {
    onnx.TensorProto.UNDEFINED: np.uint8, onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8,
}  # fmt: skip


def activation_grids(model: onnx.ModelProto) -> Grids:
    """The grid of every activation that the file rounds to 8 bits with one scale: tensor -> scale and zero point.

    Unsigned integers are shifted by 128, which changes no value.  A tensor that the file rounds differently for
    different readers is stored once on the NPU: it gets the range that holds all of theirs.

    Args:
        model: as it was written, weights loaded.
    """
    graph = GraphView(model)
    found: dict[str, list[Grid]] = {}
    for node in model.graph.node:
        grid = _grid(graph, node)
        if grid is None:
            continue
        names = (node.input[0], node.output[0]) if node.op_type in _PAIRS else node.output[:1]
        for name in names:
            found.setdefault(name, []).append(grid)
    return {name: _union(grids) for name, grids in found.items() if graph.stored(name) is None}


def grids_of_cut(grids: Mapping[str, Grid], head: Head, options: CutOptions) -> Grids:
    """The grids of a cut graph, whose outputs have names of their own: those of the head's tensors.

    Args:
        grids: of the graph that is cut.
        head: of that graph.
        options: of the cut; an output behind a sigmoid that the cut appends has none.
    """
    outputs = {
        output_of(tap, part).name: grids[tap.tensor]
        for tap in head.taps
        for part in tap_parts(tap, head, options)
        if tap.tensor in grids and not part.sigmoid and not part.subtracted
    }
    return {**grids, **outputs}


def _grid(graph: GraphView, node: onnx.NodeProto) -> Grid | None:
    """The grid of a node's output; None if it has none with 8 bits and one scale, or a computed one."""
    place = 1 if node.op_type in _PAIRS else _PLACES.get(node.op_type)
    if place is None or len(node.input) <= place:
        return None
    scale, zero = graph.stored(node.input[place]), _zero_point(graph, node, place + 1)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype not in (np.int8, np.uint8):
        return None
    value = float(scale.flat[0])
    if not math.isfinite(value) or value <= 0:
        return None
    return value, int(zero.flat[0]) - (_UNSIGNED_SHIFT if zero.dtype == np.uint8 else 0)


def _zero_point(graph: GraphView, node: onnx.NodeProto, place: int) -> NDArray[Any] | None:
    """The zero point; 0 of the type that the operator has without one."""
    if len(node.input) > place and node.input[place]:
        return graph.stored(node.input[place])
    kind = _DEFAULT_TYPES.get(attributes(node).get("output_dtype", onnx.TensorProto.UNDEFINED))
    return np.zeros((), kind) if kind is not None and node.op_type == "QuantizeLinear" else None


def _union(grids: Iterable[Grid]) -> Grid:
    """The grid of the range that holds those of all."""
    distinct = set(grids)
    if len(distinct) == 1:
        return distinct.pop()
    low = min((_LOW - zero) * scale for scale, zero in distinct)
    high = max((_HIGH - zero) * scale for scale, zero in distinct)
    scale = (high - low) / _STEPS
    return scale, _LOW - round(low / scale)
