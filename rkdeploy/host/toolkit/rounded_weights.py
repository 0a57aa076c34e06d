"""Weights rounded to INT8 with rknn-toolkit2's arithmetic, in a graph that stays float.

The loss of such a graph is the weights' share: activations keep their float values.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rkdeploy.host.graph.graph_view import GraphView

_STEPS: Final = 255
_OUTPUT_AXIS: Final = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0}
"""Operators whose weights are quantized -> the axis of their output channels."""


def rounded(weights: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
    """Weights after quantization per output channel and back.

    Asymmetric: scale = (max(w, 0) - min(w, 0)) / 255, the zero point rounded, in double precision as in the toolkit
    (rknn-toolkit2 2.5.0, `--method channel`; equal to its kept files).

    Args:
        weights: any shape.
        axis: axis of the output channels.

    Returns:
        The rounded weights, of the same shape.
    """
    table = np.moveaxis(weights, axis, 0).astype(np.float64)
    flat = table.reshape(len(table), -1)
    low, high = np.minimum(flat.min(axis=1), 0), np.maximum(flat.max(axis=1), 0)
    scale = np.maximum((high - low) / _STEPS, np.finfo(np.float64).tiny)[:, None]
    zero_point = np.rint(-low[:, None] / scale) - 128
    levels = np.clip(np.rint(flat / scale) + zero_point, -128, 127)
    back = ((levels - zero_point) * scale).reshape(table.shape)
    return np.ascontiguousarray(np.moveaxis(back, 0, axis), np.float32)


def weighted_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Outputs of the nodes whose weights are quantized, in the order of the network."""
    constants = GraphView(model).constants
    return tuple(
        node.output[0]
        for node in model.graph.node
        if node.op_type in _OUTPUT_AXIS and len(node.input) > 1 and node.input[1] in constants
    )


def with_rounded_weights(model: onnx.ModelProto, nodes: Collection[str] | None = None) -> onnx.ModelProto:
    """A copy of the graph with rounded weights.

    Args:
        model: a float graph.
        nodes: outputs of the nodes to round; None rounds all of `weighted_nodes`.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = GraphView(copy).constants
    for node in copy.graph.node:
        if node.op_type not in _OUTPUT_AXIS or len(node.input) < 2 or node.input[1] not in tensors:
            continue
        if nodes is not None and node.output[0] not in nodes:
            continue
        tensor = tensors[node.input[1]]
        weights = rounded(numpy_helper.to_array(tensor).astype(np.float32), _OUTPUT_AXIS[node.op_type])
        tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return copy
