"""Suppression behind a table of decoded rows is left out; anything else stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign import load_onnx
from rkdeploy.host.graph.suppression import left_out, without_suppression

PLUGIN = helper.make_node("EfficientNMS_TRT", ["boxes", "scores"], ["num", "kept"], domain="TRT")
STANDARD = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"])
SLICED = (
    helper.make_node("Conv", ["images", "weight"], ["map"]),
    helper.make_node("Reshape", ["map", "rows"], ["table"]),
    helper.make_node("Slice", ["table", "zero", "four", "two"], ["boxes"]),
    helper.make_node("Slice", ["table", "four", "seven", "two"], ["plain"]),
    helper.make_node("Transpose", ["plain"], ["scores"], perm=[0, 2, 1]),
)
"""Boxes and scores of one table, (1, 16, 7)."""


def graph(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A network of one 1x1 convolution with seven channels, and these nodes behind it."""
    rng = np.random.default_rng(0)
    constants = {
        "weight": rng.normal(size=(7, 3, 1, 1)).astype(np.float16 if kind == TensorProto.FLOAT16 else np.float32),
        "rows": np.array([1, 16, 7]),
        "zero": np.array([0]),
        "two": np.array([2]),
        "four": np.array([4]),
        "seven": np.array([7]),
    }
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("images", kind, [1, 3, 4, 4])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("end", [PLUGIN, STANDARD], ids=lambda node: node.op_type)
def test_the_table_takes_the_place_of_what_was_kept(end: onnx.NodeProto) -> None:
    """Boxes and scores are sliced from it; its type is the image's; an output that is not suppressed stays."""
    model = graph([*SLICED, helper.make_node("Identity", ["map"], ["proto"]), end], ["kept", "proto"])
    plain = without_suppression(model)
    assert [info.name for info in plain.graph.output] == ["table", "proto"]
    assert [node.op_type for node in plain.graph.node] == ["Conv", "Reshape", "Identity"]
    assert left_out(plain) == end.op_type
    half = without_suppression(graph([*SLICED, end], ["kept"], TensorProto.FLOAT16))
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16


def test_constants_among_the_inputs() -> None:
    """Old exporters list them: those that only the suppression took are not left as inputs."""
    model = graph([*SLICED, STANDARD], ["kept"])
    listed = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in ("zero", "two", "four")]
    model.graph.input.extend(listed)
    assert [info.name for info in without_suppression(model).graph.input] == ["images"]


def test_boxes_moved_by_their_class() -> None:
    """Suppression per class adds the class to the boxes: the table is still the one that both come from."""
    moved = (
        *SLICED[:-2],
        helper.make_node("Slice", ["table", "four", "seven", "two"], ["plain"]),
        helper.make_node("ArgMax", ["plain"], ["best"], axis=2),
        helper.make_node("Cast", ["best"], ["offset"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["boxes", "offset"], ["apart"]),
        helper.make_node("ReduceMax", ["plain"], ["top"], axes=[2]),
        helper.make_node("NonMaxSuppression", ["apart", "top"], ["kept"]),
    )
    assert [info.name for info in without_suppression(graph(moved, ["kept"])).graph.output] == ["table"]


def test_boxes_and_scores_of_different_convolutions() -> None:
    """There is no table of both: each becomes an output."""
    nodes = (
        helper.make_node("Conv", ["images", "weight"], ["boxes"]),
        helper.make_node("Conv", ["images", "weight"], ["scores"]),
        STANDARD,
    )
    assert [info.name for info in without_suppression(graph(nodes, ["kept"])).graph.output] == ["boxes", "scores"]


@pytest.mark.parametrize("end", [PLUGIN, STANDARD], ids=lambda node: node.op_type)
def test_a_table_of_raw_values(end: onnx.NodeProto) -> None:
    """Rows that are decoded behind their common table are not a table: boxes and scores become outputs."""
    decoded = (*SLICED[:-1], helper.make_node("Sigmoid", ["plain"], ["scores"]), end)
    assert [info.name for info in without_suppression(graph(decoded, ["kept"])).graph.output] == ["boxes", "scores"]


@pytest.mark.parametrize(
    ("nodes", "output"),
    [([STANDARD], "kept"), ([*SLICED, STANDARD, helper.make_node("Relu", ["table"], ["other"])], "other")],
    ids=["of nothing", "unused"],
)
def test_graphs_that_stay(nodes: list[onnx.NodeProto], output: str) -> None:
    """Tensors that do not exist, and suppression that no output needs."""
    model = graph(nodes, [output])
    assert without_suppression(model) is model
    assert left_out(model) == ""


def test_a_plugin_that_stays_is_named(tmp_path: Path) -> None:
    """Boxes for each class are not rows of a head: nothing here runs the plugin."""
    nodes = (
        helper.make_node("Conv", ["images", "weight"], ["boxes"]),
        helper.make_node("Conv", ["images", "weight"], ["scores"]),
        PLUGIN,
    )
    path = tmp_path / "plugin.onnx"
    model = graph(nodes, ["kept"])
    model.graph.value_info.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 16, 7, 4]))
    onnx.save(model, str(path))
    with pytest.raises(GraphError, match='"EfficientNMS_TRT" of "TRT", which needs a plugin'):
        load_onnx(path)
