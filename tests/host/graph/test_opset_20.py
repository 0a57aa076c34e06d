"""Graphs of opset 20 in opset 19: the values stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rkdeploy.host.graph.foreign import to_supported_opset
from rkdeploy.host.graph.session import Session


def graph_of(node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    """A graph of one node from `x` (1, 2, 4, 4), and `grid` (1, 3, 3, 2) where it is read, to `y`."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])]
    if "grid" in node.input:
        inputs.append(helper.make_tensor_value_info("grid", TensorProto.FLOAT, [1, 3, 3, 2]))
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize("opset", [20, 21])
@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gelu", ["x"], ["y"]),
        helper.make_node("Gelu", ["x"], ["y"], approximate="tanh"),
        helper.make_node("GridSample", ["x", "grid"], ["y"], mode="linear", padding_mode="zeros"),
        helper.make_node("GridSample", ["x", "grid"], ["y"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ],
    ids=["gelu", "gelu by tanh", "grid sample", "grid sample by default", "relu"],
)
def test_operators_of_opset_20(node: onnx.NodeProto, opset: int) -> None:
    """Gelu as its formula, GridSample by its older names."""
    model = graph_of(node, opset)
    lowered = to_supported_opset(model)
    assert lowered.opset_import[0].version == 19
    assert "Gelu" not in {each.op_type for each in lowered.graph.node}
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(1, 2, 4, 4)).astype(np.float32) * 2}
    if "grid" in node.input:
        inputs["grid"] = rng.uniform(-1.2, 1.2, (1, 3, 3, 2)).astype(np.float32)
    expected, got = (Session(each).run(inputs)["y"] for each in (model, lowered))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
