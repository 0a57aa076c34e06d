"""The view of a graph: what it says of a small one by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView, attributes
from tests.host.graph.small_graphs import model_of

WEIGHT = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1), "weight")
CONV = helper.make_node("Conv", ["images", "weight"], ["conv"], name="first", group=1, strides=[2, 1])
SPLIT = helper.make_node("Split", ["conv"], ["left", "right"], axis=1)
RESIZE = helper.make_node("Resize", ["left", "", "scales"], ["big"])
ADD = helper.make_node("Add", ["right", "right"], ["twice"])
END = helper.make_node("Concat", ["big", "twice"], ["y"], axis=2)


@pytest.fixture
def graph() -> GraphView:
    """images -> conv -> left, right; left -> big; right -> twice; both -> y."""
    scales = numpy_helper.from_array(np.array([1, 1, 2, 1], np.float32), "scales")
    model = model_of([CONV, SPLIT, RESIZE, ADD, END], constants=[WEIGHT, scales])
    return GraphView(onnx.shape_inference.infer_shapes(model))


def test_producers_and_consumers(graph: GraphView) -> None:
    """Producers and consumers of a tensor; inputs, constants and the empty name have no producer."""
    assert list(graph.producers) == ["conv", "left", "right", "big", "twice", "y"]
    assert graph.producer("right") == SPLIT
    assert [graph.producer(name) for name in ("images", "weight", "", "unheard")] == [None] * 4
    assert graph.consumers("conv") == (SPLIT,)
    assert graph.consumers("right") == (ADD,)  # once, though it takes it twice
    assert graph.consumers("y") == graph.consumers("") == ()


def test_shapes_and_constants(graph: GraphView) -> None:
    """Shapes where they are fixed, values where they are constant."""
    assert graph.shape("conv") == (1, 2, 2, 6)
    assert graph.image_shape == (1, 3, 4, 6)
    assert graph.shape("unheard") == ()
    assert GraphView(model_of([CONV], constants=[WEIGHT])).shape("conv") == ()  # the output's axes have names
    weight = graph.value("weight")
    assert weight is not None
    assert weight.shape == (2, 3, 1, 1)
    assert weight.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert graph.value("conv") is None
    assert graph.outputs == ("y",)


def test_weights_among_the_inputs_are_left_out() -> None:
    """Old exporters list them first, and the image is still the first input."""
    inputs = [
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2, 3, 1, 1]),
        helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6]),
    ]
    graph = GraphView(model_of([CONV], inputs, [WEIGHT]))
    assert list(graph.inputs) == ["images"]
    assert graph.image_shape == (1, 3, 4, 6)


def test_walk_back(graph: GraphView) -> None:
    """Each computed tensor once, the last end first, and nothing past a node that the walk stops at."""
    assert [name for name, _ in graph.back(["y"])] == ["y", "twice", "right", "conv", "big", "left"]
    stopped = graph.back(["big", "right"], through=lambda node: node.op_type != "Split")
    assert [name for name, _ in stopped] == ["right", "big", "left"]
    assert list(graph.back(["images", "weight", ""])) == []


def test_attributes() -> None:
    """Attributes as Python values."""
    assert attributes(CONV) == {"group": 1, "strides": [2, 1]}
    assert attributes(ADD) == {}
