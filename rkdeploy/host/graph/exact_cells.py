"""Cells and strides of an anchor-free decode that a quantizer rounded to 8 bits: made exact.

Exporters store the middle of every cell, and the stride of its level, as constants of the decode.  Quantized with the
decode they are off by some pixels.  The contract has exact ones, so the graph gets them before anything is proven, and
the build says by how much they were off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

_LEVELS = (2, 3, 4)
_FINEST = (4, 8, 16)
_LARGEST_SHARE = 1 / 128
"""Largest error as a share of the largest value: one step of 8 bits with a sign."""

_Floats = NDArray[np.float32]


def with_exact_cells(model: onnx.ModelProto, hw: tuple[int, int]) -> tuple[onnx.ModelProto, float]:
    """The model with exact cells and strides, and the largest difference to those that it had, in px; unchanged and 0
    if none was rounded.

    Args:
        model: the graph, in floating point.
        hw: (height, width) of its input, in px.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    worst = 0.0
    for constant in _constants(changed):
        values = numpy_helper.to_array(constant)
        for exact, px in _candidates(values.shape, hw):
            error = np.abs(values - exact)
            if error.max() <= _LARGEST_SHARE * exact.max():
                worst = max(worst, float((error * px).max()))
                constant.CopyFrom(numpy_helper.from_array(exact, constant.name))
                break
    return (changed, worst) if worst else (model, 0.0)


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Those of floating-point numbers."""
    tensors = list(model.graph.initializer)
    nodes = (node for node in model.graph.node if node.op_type == "Constant")
    tensors.extend(a.t for node in nodes for a in node.attribute if a.name == "value")
    return (tensor for tensor in tensors if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2)


def _candidates(shape: tuple[int, ...], hw: tuple[int, int]) -> Iterator[tuple[_Floats, _Floats]]:
    """Exact values of a constant of this shape, (..., 2, rows) for cells and (..., 1, rows) for strides, and the px
    that a difference of one makes in each.
    """
    columns, rows = shape[-2:]
    if columns not in (1, 2) or columns * rows != np.prod(shape):
        return
    for finest in _FINEST:
        for levels in _LEVELS:
            strides = [finest << level for level in range(levels)]
            if sum((hw[0] // s) * (hw[1] // s) for s in strides) != rows:
                continue
            px = np.concatenate([np.full((hw[0] // s) * (hw[1] // s), s, np.float32) for s in strides])
            if columns == 1:
                yield px.reshape(shape), np.ones(shape, np.float32)
                continue
            cells = np.concatenate([_middles(hw[0] // s, hw[1] // s) for s in strides], axis=1)
            yield cells.reshape(shape), np.broadcast_to(px, (2, rows)).reshape(shape)
            yield (cells * px).reshape(shape), np.ones(shape, np.float32)


def _middles(height: int, width: int) -> _Floats:
    """(2, height * width): x and y of the cells' middles, in cells, line by line."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middles: _Floats = np.stack([x.ravel(), y.ravel()]) + np.float32(0.5)
    return middles
