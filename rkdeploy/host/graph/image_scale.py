"""Removal of the inputs with which PaddleDetection's exports return boxes to the source image.

Such a graph takes an image, the scale by which it was resized, (1, 2), and perhaps its size, (1, 2).  They are used
behind the network only: boxes are divided by the scale, and clipped to the size.  Made constants, they leave a graph of
one image, whose head is found before that division.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView

_MOST = 2  # the scale and the size


def scale_inputs(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the inputs of a scale or a size; empty unless all inputs but one are such pairs of floats."""
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
    alone.graph.initializer.extend(numpy_helper.from_array(np.ones((1, 2), np.float32), name) for name in names)
    return alone


def _is_pair(info: onnx.ValueInfoProto) -> bool:
    """True for a (1, 2) or (N, 2) of floats."""
    kind = info.type.tensor_type
    sides = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    return kind.elem_type == TensorProto.FLOAT and len(sides) == 2 and sides[0] <= 1 and sides[1] == 2
