"""Products of constant class vectors with the cells of a map, as YOLO-World exports them, written as convolutions.

W (T, E) times the flattened map (1, E, H W), reshaped to (1, T, H, W), times a number, plus a number: a convolution of
one cell with W as its weights.  A product is not a layer that probes and the cut know as the last of a head, and the
vendor's toolkit moves the whole map in memory for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView

_MOST_STEPS = 4  # behind a product: a reshape, a scale, a shift


@dataclass(frozen=True, slots=True)
class _Product:
    """A product that is a convolution.

    Attributes:
        source: the map, (1, E, H, W).
        target: the result, (1, T, H, W).
        weight: (T, E, 1, 1) float32, scaled.
        bias: (T,) float32.
    """

    source: str
    target: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def with_class_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The simplified model with every such product as a convolution; unchanged if it has none."""
    graph = GraphView(model)
    found = {
        product.target: product
        for node in model.graph.node
        if node.op_type == "MatMul" and (product := _product(graph, node)) is not None
    }
    if not found:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        product = found.get(node.output[0])
        if product is None:
            result.graph.node.append(node)
            continue
        names = [f"{product.target}/{part}" for part in ("weight", "bias")]
        for name, values in zip(names, (product.weight, product.bias), strict=True):
            result.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        result.graph.node.append(
            helper.make_node("Conv", [product.source, *names], [product.target], name=node.name, kernel_shape=[1, 1])
        )
    return result


def _product(graph: GraphView, node: onnx.NodeProto) -> _Product | None:
    """The product that a MatMul begins; None if it is none of this form."""
    vectors, flattened = graph.value(node.input[0]), graph.producer(node.input[1])
    if vectors is None or vectors.ndim not in (2, 3) or flattened is None or flattened.op_type != "Reshape":
        return None
    vectors = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
    shape = graph.shape(flattened.input[0])
    if len(shape) != 4 or shape[0] != 1 or shape[1] != vectors.shape[1]:
        return None
    if graph.shape(node.input[1]) != (1, shape[1], shape[2] * shape[3]):
        return None
    tensor, scale, shift = node.output[0], 1.0, 0.0
    for _ in range(_MOST_STEPS):
        users = graph.consumers(tensor)
        number = _number(graph, users[0], tensor) if len(users) == 1 else None
        if number is None:
            break
        tensor = users[0].output[0]
        if users[0].op_type == "Mul":
            scale, shift = scale * number, shift * number
        elif users[0].op_type == "Add":
            shift += number
    if graph.shape(tensor) != (1, len(vectors), *shape[2:]):
        return None
    weight = (vectors * scale)[:, :, None, None].astype(np.float32)
    return _Product(flattened.input[0], tensor, weight, np.full(len(vectors), shift, np.float32))


def _number(graph: GraphView, node: onnx.NodeProto, tensor: str) -> float | None:
    """The number that a node adds or multiplies with; 0 for a reshape; None for other nodes."""
    if node.op_type == "Reshape":
        return 0.0
    if node.op_type not in ("Add", "Mul"):
        return None
    other = graph.value(next((name for name in node.input if name != tensor), ""))
    return float(other.ravel()[0]) if other is not None and other.size == 1 else None
