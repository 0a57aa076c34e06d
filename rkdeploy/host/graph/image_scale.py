"""Removal of the inputs with which some exports return boxes to the source image.

PaddleDetection's graphs take an image, the scale by which it was resized, (1, 2), and perhaps its size, (1, 2); those
of RT-DETR, D-FINE and DEIM an image and its size in whole pixels.  They are used behind the network only: boxes are
divided by the scale, and clipped to the size, or multiplied by it.  Made constants, they leave a graph of one image,
whose head is found before that.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView

_MOST = 2  # the scale and the size
_DTYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
}


def scale_inputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the inputs of a scale or a size; empty unless all inputs but one are such pairs."""
    inputs = GraphView(model).inputs
    pairs = tuple(name for name, info in inputs.items() if _is_pair(info))
    images = [info for info in inputs.values() if len(info.type.tensor_type.shape.dim) == 4]
    fits = len(images) == 1 and 0 < len(pairs) <= _MOST and len(pairs) + 1 == len(inputs)
    return pairs if fits else ()


def without_scale_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with these inputs as constants of 1; unchanged if it has none."""
    names = scale_inputs(model)
    if not names:
        return model
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    kept = [info for info in alone.graph.input if info.name not in names]
    del alone.graph.input[:]
    alone.graph.input.extend(kept)
    types = {info.name: _DTYPES[info.type.tensor_type.elem_type] for info in model.graph.input if info.name in names}
    alone.graph.initializer.extend(numpy_helper.from_array(np.ones((1, 2), kind), name) for name, kind in types.items())
    return alone


def _is_pair(info: onnx.ValueInfoProto) -> bool:
    """True for a (1, 2) or (N, 2) of numbers."""
    kind = info.type.tensor_type
    sides = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    return kind.elem_type in _DTYPES and len(sides) == 2 and sides[0] <= 1 and sides[1] == 2
