"""Finding an anchor head: what is read from a decode, and what is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.anchor_probe import find_anchor_head
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.foreign import load_onnx
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.kind_graphs import KindGraph

ONNX = Path(__file__).parents[2] / "data" / "onnx"


@pytest.fixture
def decoded() -> onnx.ModelProto:
    """Two levels at 64x96 with output0 (1, 360, 8) = Concat of two levels' rows."""
    return simplify(load_onnx(ONNX / "v7_opset17_simplify.onnx"))


def scaled(model: onnx.ModelProto, factor: list[float]) -> onnx.ModelProto:
    """The model with its decoded rows multiplied by eight factors."""
    last = next(n for n in model.graph.node if n.output[0] == "output0")
    last.output[0] = "rows"
    model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["rows", "factor"], ["output0"]))
    return onnx.shape_inference.infer_shapes(model)


def test_head_of_a_decoded_graph(decoded: onnx.ModelProto) -> None:
    """Strides, classes, anchors a level and row order come out of the graph alone."""
    head = find_anchor_head(GraphView(decoded))
    assert [(c.stride, c.shape) for c in head.taps] == [(8, (1, 24, 8, 12)), (16, (1, 24, 4, 6))]
    assert head.rows is not None
    assert (head.anchors_per_level, head.classes) == (3, 3)
    assert (head.rows.output, head.rows.level_order) == ("output0", (0, 1))


def test_normalized_boxes(decoded: onnx.ModelProto) -> None:
    """Boxes in 0..1 instead of pixels are refused with what zeros decode to."""
    wh = [1 / 96, 1 / 64] * 2
    with pytest.raises(GraphError, match=r'Row 0 of "output0" decodes zeros to \[0\.042, 0\.062, .*decode in pixels'):
        find_anchor_head(GraphView(scaled(decoded, [*wh, 1, 1, 1, 1])))


def test_rows_in_another_order(decoded: onnx.ModelProto) -> None:
    """Rows that go column by column are refused instead of being read wrongly."""
    swap = numpy_helper.from_array(np.array([1, 0, 2, 3, 4, 5, 6, 7], np.int64), "swap")  # y, x
    last = next(n for n in decoded.graph.node if n.output[0] == "output0")
    last.output[0] = "rows"
    decoded.graph.initializer.append(swap)
    decoded.graph.node.append(helper.make_node("Gather", ["rows", "swap"], ["output0"], axis=2))
    with pytest.raises(GraphError, match="not in YOLOv5's order"):
        find_anchor_head(GraphView(onnx.shape_inference.infer_shapes(decoded)))


@pytest.mark.parametrize("case", ["fork_2021", "fork_sigmoid"])
def test_bare_convolutions(case: str) -> None:
    """The fork's forms end in the convolutions or their sigmoid: the cut starts from the convolutions either way."""
    model = simplify(load_onnx(ONNX / f"{case}.onnx"))
    head = find_anchor_head(GraphView(model), 3)
    producers = {n.output[0]: n.op_type for n in model.graph.node}
    assert [producers[c.tensor] for c in head.taps] == ["Conv", "Conv"]
    assert (head.anchors_per_level, head.classes, head.anchors, head.rows) == (3, 3, None, None)
    with pytest.raises(GraphError, match=r"ends in the head's convolutions.* no decode.*--weights"):
        find_anchor_head(GraphView(model))


def test_convolutions_behind_something_else() -> None:
    """Convolutions with another activation behind them are not a head, even if the channels would fit."""
    model = simplify(load_onnx(ONNX / "fork_sigmoid.onnx"))
    for node in model.graph.node:
        if node.output[0] == model.graph.output[0].name:
            node.op_type = "Tanh"
    with pytest.raises(GraphError, match="no anchor head: its outputs are output0"):
        find_anchor_head(GraphView(model), 3)


def test_no_convolution() -> None:
    """A graph without convolutions is refused as what it is."""
    info = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 6])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"])],
        "g",
        [info],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 6])],
    )
    with pytest.raises(GraphError, match="no convolution before its outputs"):
        find_anchor_head(GraphView(helper.make_model(graph)))


def test_bias_of_another_convolution(decoded: onnx.ModelProto) -> None:
    """A last convolution with fewer biases than channels, which shape inference lets pass, is named."""
    head = find_anchor_head(GraphView(decoded), None)
    damaged = onnx.ModelProto()
    damaged.CopyFrom(decoded)
    node = next(n for n in damaged.graph.node if head.taps[0].tensor in n.output)
    damaged.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.float32), "few"))
    node.input[2] = "few"
    with pytest.raises(GraphError, match=r'"few" of convolution ".*" has shape \(8,\), expected 24 output channels'):
        cut(damaged, head, CutOptions())


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("coarse_first", [False, True])
def test_one_table_of_raw_rows(sigmoid: bool, coarse_first: bool) -> None:
    """YOLOv5-Lite's --concat: all levels' rows in one table, without a decode; the fields are counted off it."""
    graph = KindGraph()
    strides = (32, 16, 8) if coarse_first else (8, 16, 32)
    rows = [graph.rows(graph.conv(stride, 3 * 7), 7) for stride in strides]
    table = graph.node("Concat", *rows, axis=1)
    graph.show(graph.node("Sigmoid", table) if sigmoid else table)
    _, head = find_supported_head(simplify(graph.model()), None)
    assert [(tap.role, tap.stride) for tap in head.taps] == [("anchor_map", stride) for stride in (8, 16, 32)]
    assert (head.classes, head.anchors_per_level, head.anchors, head.rows) == (2, 3, None, None)
