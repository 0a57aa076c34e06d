"""Small graphs of text recognizers, as several packages export them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4


def recognizer(tail: str, hw: tuple[int, int] = (16, 96), scores: int = 12, *, free: bool = False) -> onnx.ModelProto:
    """A convolution of stride 8 that leaves one row, and the tail of a package behind it.

    Args:
        tail: `plate` (convolution, squeezed, columns first), `lprnet` (mean over the height, characters first), `ppocr`
            (product, softmax), `crnn` (columns, 1, characters, log-softmax), `vector` (as `plate`, with an attribute),
            `attention` (as `ppocr`, behind a Reshape with zeros), `map` (as `plate`, without change of order).
        hw: height and width of the image.
        scores: of each column.
        free: True to leave batch and width free.
    """
    rng = np.random.default_rng(3)
    height, width = hw
    columns = width // 8
    kernel = (8 if tail == "lprnet" else height, 8)
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def weights(name: str, *shape: int) -> str:
        return constant(name, rng.normal(0, 1, shape).astype(np.float32))

    value = node("Conv", ["x", weights("stem", CHANNELS, 3, *kernel)], "features", strides=[kernel[0], 8])
    outputs: dict[str, tuple[Any, ...]] = {}
    if tail in ("plate", "vector", "map"):
        value = node("Conv", [value, weights("head", scores, CHANNELS, 1, 1)], "scores")
        outputs = {"scores": (1, scores, 1, columns)}
    if tail in ("plate", "vector"):
        value = node("Transpose", [node("Squeeze", [value, constant("two", [2])], "squeezed")], "text", perm=[0, 2, 1])
        outputs = {"text": (1, columns, scores)}
    if tail == "vector":
        pooled = node("GlobalAveragePool", ["features"], "pooled")
        vector = node("Conv", [pooled, weights("color", 5, CHANNELS, 1, 1)], "colors")
        node("Flatten", [vector], "attribute")
        outputs["attribute"] = (1, 5)
    if tail == "lprnet":
        value = node("Conv", [value, weights("head", scores, CHANNELS, 1, 1)], "scores")
        node("ReduceMean", [value], "text", axes=[2], keepdims=0)
        outputs = {"text": (1, scores, columns)}
    if tail in ("ppocr", "attention", "crnn"):
        order = [2, 0, 1] if tail == "crnn" else [0, 2, 1]
        value = node("Transpose", [node("Squeeze", [value, constant("two", [2])], "squeezed")], "rows", perm=order)
        if tail == "attention":
            value = attended(node, constant, weights, value)
        value = node("MatMul", [value, weights("head", CHANNELS, scores)], "product")
        value = node("Add", [value, weights("bias", scores)], "shifted")
        node("LogSoftmax" if tail == "crnn" else "Softmax", [value], "text", axis=2)
        outputs = {"text": (columns, 1, scores) if tail == "crnn" else (1, columns, scores)}
    shape: list[Any] = ["n", 3, height, "w"] if free else [1, 3, height, width]
    shown = {name: ["n", "t", dims[-1]] if free else list(dims) for name, dims in outputs.items()}
    graph = helper.make_graph(
        nodes, "text", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in shown.items()], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def attended(node: Any, constant: Any, weights: Any, value: str) -> str:
    """One head of attention over the columns, in Paddle's form: a product, then Reshape with a zero."""
    both = node("MatMul", [value, weights("qk_weight", CHANNELS, 2 * CHANNELS)], "qk_product")
    split = node("Reshape", [both, constant("split", [0, -1, 2, 1, CHANNELS])], "qk_split")
    turned = node("Transpose", [split], "qk_turned", perm=[2, 0, 3, 1, 4])
    query, key = (
        node("Squeeze", [node("Gather", [turned, constant(f"at{i}", [i])], f"part{i}", axis=0),
                         constant(f"none{i}", [0])], f"taken{i}")
        for i in (0, 1)
    )  # fmt: skip
    weight = node("Softmax", [node("MatMul", [query, node("Transpose", [key], "keys", perm=[0, 1, 3, 2])], "qk")],
                  "attention", axis=3)  # fmt: skip
    mixed = node("Transpose", [node("MatMul", [weight, key], "mixed")], "mixed_turned", perm=[0, 2, 1, 3])
    joined = node("Reshape", [mixed, constant("join", [0, -1, CHANNELS])], "joined")
    return str(node("MatMul", [joined, weights("out", CHANNELS, CHANNELS)], "attended"))
