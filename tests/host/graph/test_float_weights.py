"""Quantized ONNX files as float ones: by onnxruntime's own quantizers, compared with the float graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.graph.float_weights import QUANTIZED_NOTE, is_quantized, with_float_weights
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.whole_bins import ROUNDED_ERROR, WHOLE_ERROR, with_whole_bins
from tests.host.graph.kind_graphs import KindGraph

FORMS = ("dynamic", "pairs", "operators")


def network(kind: str = "Relu") -> onnx.ModelProto:
    """Two convolutions with an activation of each sort that quantizers drop or keep."""
    graph = KindGraph((16, 16))
    rng = np.random.default_rng(1)
    first = graph.node(
        "Conv",
        "images",
        graph.constant(rng.normal(size=(4, 3, 3, 3)).astype(np.float32)),
        graph.constant(rng.normal(size=4).astype(np.float32)),
        pads=[1, 1, 1, 1],
    )
    ends = (graph.constant(np.float32(0)), graph.constant(np.float32(6))) if kind == "Clip" else ()
    active = graph.node(kind, first, *ends)
    pooled = graph.node("MaxPool", active, kernel_shape=[2, 2], strides=[2, 2])
    second = graph.node("Conv", pooled, graph.constant(rng.normal(size=(4, 4, 1, 1)).astype(np.float32)))
    gated = graph.node("Mul", second, graph.node("Sigmoid", second))
    return graph.show(graph.node("Concat", graph.node("Add", gated, second), second, axis=1)).model()


class Images:
    """Some images of noise, as onnxruntime's quantizers read them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self._left = [{"images": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image."""
        return self._left.pop() if self._left else None


def quantized(model: onnx.ModelProto, form: str, folder: Path) -> onnx.ModelProto:
    """The model as onnxruntime quantizes it."""
    from onnxruntime import quantization  # imports torch

    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, str(before))
    if form == "dynamic":
        quantization.quantize_dynamic(before, after, weight_type=quantization.QuantType.QUInt8)
    else:
        kind = quantization.QuantFormat.QDQ if form == "pairs" else quantization.QuantFormat.QOperator
        quantization.quantize_static(before, after, Images(), quant_format=kind, per_channel=form == "pairs")
    return onnx.load(str(after))


@pytest.mark.parametrize("kind", ["Relu", "Clip"])
@pytest.mark.parametrize("form", FORMS)
def test_gives_nearly_the_float_values(form: str, kind: str, tmp_path: Path) -> None:
    """Only the weights' rounding is left, and a ReLU that the quantizer dropped is back."""
    model = network(kind)
    rounded = quantized(model, form, tmp_path)
    assert is_quantized(rounded)
    assert not is_quantized(model)
    restored = with_float_weights(rounded)
    assert not is_quantized(restored)
    image = {"images": np.random.default_rng(3).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    expected, got = (next(iter(Session(each).run(image).values())) for each in (model, restored))
    assert np.abs(expected - got).max() < 0.03 * np.abs(expected).max()
    first = next(node for node in restored.graph.node if node.op_type == "Conv")
    weight = next(c for c in restored.graph.initializer if c.name == first.input[1])
    own = numpy_helper.to_array(next(c for c in model.graph.initializer if list(c.dims) == [4, 3, 3, 3]))
    assert np.abs(numpy_helper.to_array(weight) - own).max() <= 0.51 * np.ptp(own) / 127


def rounding(weight: NDArray[np.float32], scale: NDArray[np.float32]) -> onnx.ModelProto:
    """A convolution whose float weights the graph itself rounds, as training with quantization exports it."""
    names = ["weight", "scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", names, ["integers"], axis=0),
        helper.make_node("DequantizeLinear", ["integers", *names[1:]], ["rounded"], axis=0),
        helper.make_node("Conv", ["x", "rounded"], ["y"]),
    ]
    stored: list[NDArray[Any]] = [weight, scale, np.zeros(scale.shape, np.int8)]
    constants = [numpy_helper.from_array(values, name) for name, values in zip(names, stored, strict=True)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    return helper.make_model(helper.make_graph(nodes, "rounding", [x], [y], constants))


def test_weights_that_the_graph_rounds() -> None:
    """They are rounded, to the ends of 8 bits: 2.26 is 5 steps of 0.5 or 18 of 0.125, 99 is 127, -99 is -128."""
    weight = np.array([[2.26, 99.0], [2.26, -99.0]], np.float32).reshape(2, 2, 1, 1)
    restored = with_float_weights(rounding(weight, np.array([0.5, 0.125], np.float32)))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in restored.graph.initializer}
    sources = {node.output[0]: node.input[0] for node in restored.graph.node}
    found = tensors[sources["rounded"]]
    np.testing.assert_array_equal(found.ravel(), np.array([2.5, 63.5, 2.25, -16], np.float32))


@pytest.mark.parametrize(("others", "after"), [(11, []), (3, ["Relu"])])
def test_one_range_from_zero_on_is_chance(others: int, after: list[str]) -> None:
    """Among many sums with negative numbers; otherwise it is an activation that the quantizer dropped."""
    names = [f"y{index}" for index in range(others + 1)]
    zeros = {name: np.int8(-128 if name == "y0" else 0) for name in names}
    nodes = []
    for name in names:
        nodes.append(helper.make_node("Add", ["x", "x"], [f"{name}.sum"]))
        nodes.append(helper.make_node("QuantizeLinear", [f"{name}.sum", "scale", f"{name}.zero"], [f"{name}.integers"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.integers", "scale", f"{name}.zero"], [name]))
    stored = [numpy_helper.from_array(np.asarray(zero), f"{name}.zero") for name, zero in zeros.items()]
    stored.append(numpy_helper.from_array(np.asarray(np.float32(1)), "scale"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", *names)]
    model = helper.make_model(helper.make_graph(nodes, "sums", ends[:1], ends[1:], stored))
    assert [node.op_type for node in with_float_weights(model).graph.node if node.op_type == "Relu"] == after


@pytest.mark.parametrize(("lowest", "after"), [(0, ["Identity"]), (-1, ["Relu"])])
def test_a_mean_of_shares_needs_no_relu(lowest: int, after: list[str]) -> None:
    """Its range from 0 on comes from no activation; that of a convolution with negative weights does."""
    bins = np.arange(lowest, lowest + 16, dtype=np.int8).reshape(1, 16, 1, 1)
    constants: dict[str, Any] = {"bins": bins, "scale": np.float32(1), "zero": np.int8(0), "low": np.int8(-128)}
    nodes = [
        helper.make_node("Softmax", ["x"], ["shares"], axis=1),
        helper.make_node("DequantizeLinear", ["bins", "scale", "zero"], ["weight"]),
        helper.make_node("Conv", ["shares", "weight"], ["mean"]),
        helper.make_node("QuantizeLinear", ["mean", "scale", "low"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "low"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    restored = with_float_weights(helper.make_model(helper.make_graph(nodes, "bins", [x], [y], stored)))
    assert [node.op_type for node in restored.graph.node if node.output[0] == "rounded"] == after


def test_scales_per_block_are_refused() -> None:
    """Three scales for an axis of two are named with the shapes."""
    model = rounding(np.ones((2, 2, 1, 1), np.float32), np.ones(3, np.float32))
    with pytest.raises(GraphError, match=r"scales of shape \(3,\) for values of shape \(2, 2, 1, 1\)"):
        with_float_weights(model)


def test_scale_of_weights_is_taken_in(tmp_path: Path) -> None:
    """The product behind an integer convolution is gone: the convolution has real weights."""
    restored = with_float_weights(quantized(network(), "dynamic", tmp_path))
    for node in (node for node in restored.graph.node if node.op_type == "Conv"):
        taken = [other.op_type for other in restored.graph.node if node.output[0] in other.input]
        assert "Cast" not in taken


def test_bins_that_were_rounded() -> None:
    """Bins of a scale of 15 / 127 become whole again, in quantized files only."""
    bins = np.round(np.arange(16) / (15 / 127)) * (15 / 127)
    weight = numpy_helper.from_array(bins.astype(np.float32).reshape(1, 16, 1, 1), "bins")
    node = helper.make_node("Conv", ["x", "bins"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "bins", [x], [y], [weight]))
    assert with_whole_bins(model, WHOLE_ERROR)[1] == 0
    whole, error = with_whole_bins(model, ROUNDED_ERROR)
    assert 0.01 < error < 0.06
    np.testing.assert_array_equal(numpy_helper.to_array(whole.graph.initializer[0]).ravel(), np.arange(16))


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    """An integer operator without a known float form is refused by its name, with a hint."""
    model = quantized(network(), "operators", tmp_path)
    next(node for node in model.graph.node if node.op_type == "QLinearSigmoid").op_type = "QLinearErf"
    with pytest.raises(GraphError, match=r'quantized.*"QLinearErf".*the float model'):
        with_float_weights(model)


def test_build_says_so(tmp_path: Path) -> None:
    """A quantized detector opens as its float form does, with a note."""
    from onnxruntime import quantization

    graph = KindGraph()
    graph.show(*(graph.rows(graph.conv(stride, 9), 9) for stride in (8, 16, 32)))
    path = tmp_path / "float.onnx"
    onnx.save(graph.model(), str(path))
    quantization.quantize_dynamic(path, tmp_path / "int8.onnx", weight_type=quantization.QuantType.QUInt8)
    opened = [open_graph(tmp_path / name, None, None, 9) for name in ("float.onnx", "int8.onnx")]
    assert [tap.shape for tap in opened[0].head.taps] == [tap.shape for tap in opened[1].head.taps]
    assert QUANTIZED_NOTE in opened[1].notes
    assert QUANTIZED_NOTE not in opened[0].notes


def test_a_head_that_is_not_found_may_be_rounded(tmp_path: Path) -> None:
    """The message of a quantized file says which operators to leave out; that of a float file does not."""
    for integers in (True, False):
        graph = KindGraph((32, 32))
        weight = np.ones((300, 3, 1, 1), np.int8 if integers else np.float32)
        scaled = [graph.constant(weight), graph.constant(np.float32(0.5))]
        read = graph.node("DequantizeLinear", *scaled) if integers else scaled[0]
        onnx.save(graph.show(graph.node("Conv", "images", read)).model(), str(tmp_path / "odd.onnx"))
        with pytest.raises(GraphError) as caught:
            open_graph(tmp_path / "odd.onnx", None, None, 0)
        assert ("nodes_to_exclude" in caught.value.hint) == integers
