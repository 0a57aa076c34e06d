"""Graphs of a few nodes, for tests."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    constants: list[TensorProto] | None = None,
    version: int = 13,
) -> onnx.ModelProto:
    """A model of these nodes on `images` (1, 3, 4, 6), whose last output is the model's."""
    inputs = inputs or [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6])]
    output = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", "c", "h", "w"])
    graph = helper.make_graph(nodes, "test", inputs, [output], constants or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
