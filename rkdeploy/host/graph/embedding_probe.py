"""Probe for a vector of the image: what a graph with one row of numbers gives, and where its embedding is cut.

An embedding and the scores of a classifier have the same shape.  What comes last in the graph tells most of them
apart: a division by the length, a normalization or an activation behind the last product is an embedding's, a softmax a
classifier's.  A bare product of 64, 128, ... numbers may be either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.contract.formulas import EmbeddingFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView, attributes
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap
from rkdeploy.host.graph.head_kinds import EMBEDDING
from rkdeploy.host.graph.session import Session

Nature = Literal["embedding", "scores", "either"]
_VIEWS: Final = frozenset({"Identity", "Flatten", "Squeeze", "Unsqueeze", "Reshape", "Cast", "Dropout"})
_SHARES: Final = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_NORMALIZATIONS: Final = frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization"})
_ACTIVATIONS: Final = frozenset({"Relu", "PRelu", "LeakyRelu", "Elu", "Clip", "Tanh", "HardSwish"})
_POOLS: Final = frozenset({"GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean"})
_PRODUCTS: Final = frozenset({"Gemm", "MatMul", "Conv"})
_TOKENS: Final = frozenset({"Gather", "Slice", "Split"})
_USUAL: Final = 64
"""Embeddings have a multiple of so many numbers: 128, 512, 768.  Few sets of classes do."""
_STEPS: Final = 24
"""Nodes that a normalization may be written in; exporters take 3 to 10."""
_TOLERANCE: Final = 1e-4


def vector_nature(graph: GraphView) -> Nature:
    """Nature of the numbers of a graph with one row of them, as its last nodes show it.

    Args:
        graph: for which `is_classifier` is true.
    """
    if _unnormalized(graph):
        return "embedding"
    end = _source(graph, graph.outputs[0])
    node = graph.producer(end)
    count = graph.shape(graph.outputs[0])[1]
    if node is None or node.op_type in _SHARES:
        return "scores"
    if node.op_type in _NORMALIZATIONS or _scales_channels(graph, node):
        return "embedding"
    before = graph.producer(_source(graph, node.input[0])) if node.input else None
    behind = before.op_type if before is not None else ""
    if node.op_type in _ACTIVATIONS and behind in (_PRODUCTS | _NORMALIZATIONS | {"Add"}):
        return "embedding"
    if node.op_type in _TOKENS and behind in (_NORMALIZATIONS | {"Add", "Mul", "Div"}):
        return "embedding"
    if node.op_type == "Mul" and any(_is_gate(graph, name) for name in node.input):
        return "embedding"
    if node.op_type in _POOLS:
        return _pooled(graph, before, count)
    if _is_depthwise(graph, node):
        return "embedding"
    return _of_product(node, count)


def vector_output(graph: GraphView) -> str:
    """Name of the vector next to what it was computed from (CLIP's hidden states), or its length (AdaFace).

    Empty for graphs with other outputs.
    """
    shapes = {name: graph.shape(name) for name in graph.outputs}
    vectors = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == 1 and shape[1] % _USUAL == 0]
    if len(shapes) < 2 or len(vectors) != 1 or not shapes[vectors[0]][1]:
        return ""
    behind = {tensor for tensor, _ in graph.back(vectors)}
    others = [name for name in shapes if name != vectors[0]]
    return vectors[0] if all(name in behind or shapes[name] == (1, 1) for name in others) else ""


def _pooled(graph: GraphView, before: onnx.NodeProto | None, count: int) -> Nature:
    """Of pooled maps: a backbone ends in them, and so do classifiers whose last convolution has a map per class."""
    if before is not None and before.op_type in _ACTIVATIONS:
        before = graph.producer(before.input[0])
    if before is None or before.op_type in ("Add", "Concat", "Mul", *_NORMALIZATIONS):
        return "embedding"
    if before.op_type == "Conv" and max(graph.shape(before.input[1])[2:], default=1) > 1:
        return "embedding"
    return "either" if count % _USUAL == 0 else "scores"


def _of_product(node: onnx.NodeProto, count: int) -> Nature:
    """Of a last product with weights: classifiers have a bias, and seldom 64, 128, ... classes."""
    biased = node.op_type == "Add" or (node.op_type in ("Gemm", "Conv") and len(node.input) > 2)
    unbiased_product = node.op_type in _PRODUCTS and not biased
    return "either" if unbiased_product or count % _USUAL == 0 else "scores"


def _is_gate(graph: GraphView, tensor: str) -> bool:
    """True for the sigmoid of an activation such as SiLU and hard swish."""
    node = graph.producer(tensor)
    return node is not None and node.op_type in ("Sigmoid", "HardSigmoid")


def _is_depthwise(graph: GraphView, node: onnx.NodeProto) -> bool:
    """True for a convolution over each channel alone, as MobileFaceNet's "global depthwise" one."""
    return node.op_type == "Conv" and attributes(node).get("group", 1) == graph.shape(node.output[0])[1] > 1


def _scales_channels(graph: GraphView, node: onnx.NodeProto) -> bool:
    """True for x * constant + constant with a number per channel: a normalization in parts."""
    if node.op_type not in ("Add", "Sub"):
        return False
    before = [graph.producer(name) for name in node.input]
    constant = any(graph.value(name) is not None for name in node.input)
    return constant and any(one is not None and one.op_type in ("Mul", "Div") for one in before)


def _source(graph: GraphView, tensor: str) -> str:
    """The tensor behind nodes that only give another shape."""
    for _ in range(_STEPS):
        node = graph.producer(tensor)
        if node is None or node.op_type not in _VIEWS:
            break
        tensor = node.input[0]
    return tensor


def _unnormalized(graph: GraphView) -> str:
    """The vector that the graph divides by its length to get its output; empty if it does no such thing.

    The part of the graph between the two is run on noise, however an exporter writes it.
    """
    output = graph.outputs[0]
    count = graph.shape(output)[1]
    for tensor in _vectors_before(graph, output, count):
        shape = graph.shape(tensor)
        noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        part = _part(graph, tensor, output)
        try:
            found = Session(part).run({tensor: noise})[output].ravel()
        except GraphError:  # other inputs are needed: not a function of this vector
            continue
        if np.abs(found - noise.ravel() / np.linalg.norm(noise)).max() < _TOLERANCE:
            return tensor
    return ""


def _vectors_before(graph: GraphView, output: str, count: int) -> Iterator[str]:
    """Computed tensors of as many numbers, a few nodes before the output, nearest first."""
    pending, seen = [output], {output}
    for _ in range(_STEPS):
        if not pending:
            return
        node = graph.producer(pending.pop(0))
        if node is None or node.op_type in (*_PRODUCTS, *_POOLS):
            continue
        for name in node.input:
            if name in seen or graph.producer(name) is None:
                continue
            seen.add(name)
            pending.append(name)
            shape = graph.shape(name)
            if shape and int(np.prod(shape)) == count:
                yield name


def _part(graph: GraphView, start: str, end: str) -> onnx.ModelProto:
    """The nodes between two tensors."""
    needed, nodes = {end}, []
    for node in reversed(graph.model.graph.node):
        if (needed - {start}).intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    part = helper.make_graph(
        nodes[::-1],
        "end",
        [helper.make_tensor_value_info(start, onnx.TensorProto.FLOAT, graph.shape(start))],
        [helper.make_empty_tensor_value_info(end)],
        [constant for constant in graph.model.graph.initializer if constant.name in needed],
    )
    return helper.make_model(part, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def with_embedding_head(graph: GraphView) -> tuple[onnx.ModelProto, Head]:
    """The graph with its vector, before a division by its length, as a tensor (1, D, 1, 1), and the head.

    Args:
        graph: for which `is_classifier` is true.
    """
    output = graph.outputs[0]
    count = graph.shape(output)[1]
    before = _unnormalized(graph)
    vector = _source(graph, before or output)
    shape = graph.shape(vector)
    if len(shape) < 2 or int(np.prod(shape)) != count:  # a view that also selects
        vector, shape = before or output, graph.shape(before or output)
    result = onnx.ModelProto()
    result.CopyFrom(graph.model)
    raw = vector
    if shape != (1, count, 1, 1):
        raw = f"{vector}/1x1"
        stated = numpy_helper.from_array(np.array([1, count, 1, 1], np.int64), f"{raw}.shape")
        result.graph.initializer.append(stated)
        result.graph.node.append(helper.make_node("Reshape", [vector, stated.name], [raw], name=raw))
    node = graph.producer(vector)
    if node is None:
        raise GraphError(f'The output "{output}" is not computed by the graph.')
    tap = Tap(node.name or vector, raw, "embedding", (1, count, 1, 1), graph.image_shape[2], name=EMBEDDING)
    shown = DecodedTensor(EMBEDDING, output, "linear", normalized=bool(before))
    return result, Head((tap,), 1, tensors=(shown,), embedding=EmbeddingFormula(), kind=EMBEDDING)


def as_embedding(head: Head) -> Head:
    """The head of a vector that was taken for scores of classes, as an embedding."""
    (tap,), (shown,) = head.taps, head.tensors
    return Head(
        (Tap(tap.node, tap.tensor, "embedding", tap.shape, tap.stride, name=EMBEDDING),),
        1,
        tensors=(DecodedTensor(EMBEDDING, shown.output, shown.activation),),
        embedding=EmbeddingFormula(),
    )
