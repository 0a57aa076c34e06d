"""Two last convolutions side by side become one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.joined_heads import with_joined_heads
from rkdeploy.host.graph.session import Session

SHAPE = (1, 4, 3, 5)


def side_by_side(
    *, second: str = "trunk", implicit: bool = True, even: bool = True, kernel: int = 1, reshaped: bool = True
) -> onnx.ModelProto:
    """Two convolutions behind a trunk, as YOLOv7-pose has them.

    Args:
        second: what the second one reads: the trunk, or a convolution of its own behind it.
        implicit: whether constants are added before the first and multiplied behind it.
        even: whether these constants are the same in all cells.
        kernel: side of the first one's window.
        reshaped: whether the channels are counted off behind.
    """
    rng = np.random.default_rng(0)
    constants, nodes = [], []

    def constant(name: str, *shape: int) -> str:
        constants.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
        return name

    def conv(name: str, source: str, out: int, inputs: int, side: int = 1) -> str:
        weights = [constant(f"{name}.w", out, inputs, side, side), constant(f"{name}.b", out)]
        nodes.append(helper.make_node("Conv", [source, *weights], [name], name=name, pads=[side // 2] * 4))
        return name

    trunk = conv("trunk", "images", 6, 4, 3)
    source, cells = trunk, SHAPE[2:] if not even else (1, 1)
    if implicit:
        nodes.append(helper.make_node("Add", [constant("ia", 1, 6, *cells), trunk], ["shifted"]))
        source = "shifted"
    first = conv("first", source, 4, 6, kernel)
    if implicit:
        nodes.append(helper.make_node("Mul", [constant("im", 1, 4, *cells), first], ["scaled"]))
        first = "scaled"
    if second == "own":
        second = conv("own", trunk, 5, 6, 3)
    last = conv("second", second, 2, 5 if second == "own" else 6)
    nodes.append(helper.make_node("Concat", [first, last], ["map"], name="map", axis=1))
    ends = ["map"]
    if reshaped:
        constants.append(numpy_helper.from_array(np.array([1, 2, 3, 3, 5]), "five"))
        nodes.append(helper.make_node("Reshape", ["map", "five"], ["cells"]))
        ends = ["cells"]
    graph = helper.make_graph(
        nodes,
        "pose",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(end, TensorProto.FLOAT, None) for end in ends],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


@pytest.mark.parametrize("implicit", [True, False], ids=["constants", "plain"])
@pytest.mark.parametrize(("second", "convs"), [("trunk", 2), ("own", 3)])
def test_values_stay_the_same(second: str, convs: int, implicit: bool) -> None:
    """One convolution gives what two gave, whether they read the same tensor or not."""
    model = side_by_side(second=second, implicit=implicit)
    joined = with_joined_heads(model)
    ops = [node.op_type for node in joined.graph.node]
    assert ops.count("Conv") == convs
    assert not {"Add", "Mul"}.intersection(ops)
    image = {"images": np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)}
    expected, found = (Session(each).run(image)["cells"] for each in (model, joined))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    onnx.checker.check_model(joined)


@pytest.mark.parametrize(
    "model",
    [side_by_side(even=False), side_by_side(kernel=3), side_by_side(reshaped=False)],
    ids=["constants that differ by cell", "a window", "channels that are not counted off"],
)
def test_others_stay(model: onnx.ModelProto) -> None:
    """A graph without such a pair is returned as it is."""
    assert with_joined_heads(model) is model
