"""Pools over three dimensions, as LPRNet's files have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.graph_view import attributes
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.volume_pooling import without_volume_pooling


def model(*, widened: bool, **attributes: Any) -> onnx.ModelProto:
    """One pool, as newer exporters write it with `widened`, else as torch's older one does."""
    inner, constants = "x", []
    nodes = []
    if widened:
        constants = [numpy_helper.from_array(np.array([0], np.int64), "first")]
        nodes.append(helper.make_node("Unsqueeze", ["x", "first"], ["wide"]))
        inner = "wide"
    nodes.append(helper.make_node("MaxPool", [inner], ["pooled"], name="pool", **attributes))
    if widened:
        nodes.append(helper.make_node("Squeeze", ["pooled", "first"], ["y"]))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 6, 8, 10]), ("y", None)))
    if not widened:
        nodes[-1].output[0] = "y"
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("strides", [[1, 1, 1], [2, 1, 2], [4, 2, 1]])
@pytest.mark.parametrize("extra", [{}, {"pads": [0, 1, 1, 0, 1, 1], "dilations": [1, 1, 1], "ceil_mode": 0}])
def test_equal_to_the_pool_of_a_volume(strides: list[int], extra: dict[str, Any]) -> None:
    """Both exporters' forms give what onnxruntime's pool of a volume gives."""
    given = {"kernel_shape": [1, 3, 3], "strides": strides, **extra}
    image = np.random.default_rng(0).normal(size=(1, 6, 8, 10)).astype(np.float32)
    expected = Session(model(widened=True, **given)).run({"x": image})["y"]
    for widened in (True, False):
        planar = without_volume_pooling(model(widened=widened, **given))
        (pool,) = (node for node in planar.graph.node if node.op_type == "MaxPool")
        assert len(attributes(pool)["kernel_shape"]) == 2
        np.testing.assert_array_equal(Session(planar).run({"x": image})["y"], expected)


def test_other_pools_stay() -> None:
    """One that spans channels, and one of two dimensions."""
    for given in ({"kernel_shape": [2, 3, 3]}, {"kernel_shape": [3, 3]}):
        before = model(widened=len(given["kernel_shape"]) == 3, **given)
        assert without_volume_pooling(before) == before
