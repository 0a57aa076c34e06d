"""Grids of a quantized ONNX file in the toolkit's table: weights by their values, activations by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.float_weights import with_float_weights
from rkdeploy.host.graph.given_ranges import activation_grids
from rkdeploy.host.graph.session import Session
from rkdeploy.host.toolkit.given_grids import exact_grids, with_given_grids
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions
from tests.host.graph.kind_graphs import KindGraph
from tests.host.toolkit.test_bias_correction import entry

SIZE = 32


def on_grid(integers: np.ndarray, scales: np.ndarray, zero: int) -> np.ndarray:  # type: ignore[type-arg]  # any dtype
    """float32 values of integers with a scale per first index."""
    column = (-1, *[1] * (integers.ndim - 1))
    return np.asarray((integers.astype(np.float64) - zero) * scales.reshape(column), np.float32)


@pytest.mark.parametrize(("low", "high", "zero"), [(-127, 127, 0), (-128, 127, 0), (0, 255, 90), (0, 15, 8)])
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (5, 1, 3, 3), (3, 2, 1, 1)])
def test_weights_on_a_grid_are_recognized(low: int, high: int, zero: int, shape: tuple[int, ...]) -> None:
    """Whatever the scale is: quantized by what is found, the values come back to float32's accuracy."""
    rng = np.random.default_rng(7)
    integers = rng.integers(low, high, shape, endpoint=True)
    scales = rng.uniform(1e-4, 3.0, shape[0])
    weights = on_grid(integers, scales, zero)
    found = exact_grids(weights, 0)
    assert found is not None
    for row, scale, point, true in zip(weights, *found, scales, strict=True):
        steps = np.rint(row / scale) + point
        assert steps.min() >= -128
        assert steps.max() <= 127
        np.testing.assert_allclose((steps - point) * scale, row, atol=1e-5 * true)
        assert -128 <= point <= 127


def test_other_weights_are_not() -> None:
    """Float weights, a channel of float weights among others, and more than 8 bits; a channel of zeros is on any."""
    rng = np.random.default_rng(8)
    assert exact_grids(rng.normal(size=(2, 8, 3, 3)).astype(np.float32), 0) is None
    mixed = on_grid(rng.integers(-127, 128, (2, 8, 3, 3)), np.ones(2), 0)
    mixed[1] = rng.normal(size=(8, 3, 3))
    assert exact_grids(mixed, 0) is None
    wide = on_grid(rng.integers(-200, 201, (2, 64, 3, 3)), np.ones(2), 0)
    assert exact_grids(wide, 0) is None
    assert exact_grids(np.zeros((1, 4, 1, 1), np.float32), 0) == ([1.0], [0])


def test_axis_of_the_output_channels() -> None:
    """Weights of a transposed convolution have it second."""
    weights = on_grid(np.arange(-60, 60).reshape(2, 60), np.array([0.5, 2.0]), 0).T
    found = exact_grids(weights, 1)
    assert found is not None
    assert found[0] == pytest.approx([0.5, 2.0])


def test_table() -> None:
    """Named tensors get the file's grid, pooled ones that of their input; a sigmoid keeps the toolkit's."""
    weight = on_grid(np.array([[-3, 1], [2, 5]]).reshape(2, 2, 1, 1), np.array([0.5, 0.25]), 0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "weight"], ["wide"], kernel_shape=[1, 1]),
            helper.make_node("MaxPool", ["wide"], ["pooled"], kernel_shape=[1, 1]),
            helper.make_node("Sigmoid", ["pooled"], ["share"]),
            helper.make_node("Relu", ["share"], ["out_int8"]),
            helper.make_node("exDataConvert", ["out_int8"], ["out"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    table = {
        "weight": {"dtype": "int8", "scale": [1 / 255, 1 / 255], "zero_point": [0, 0], "qtype": "kept"},
        **{name: entry(0.3, 5) for name in ("images", "wide", "pooled", "share", "out_int8", "out")},
    }
    given = {"images": (9.0, 9), "wide": (0.7, -128), "share": (9.0, 9), "out": (0.9, 1)}
    found, counts = with_given_grids(helper.make_model(graph), table, given, per_channel=True)
    assert {name: (found[name]["scale"], found[name]["zero_point"]) for name in ("wide", "pooled", "out_int8")} == {
        "wide": ([0.7], [-128]),
        "pooled": ([0.7], [-128]),
        "out_int8": ([0.9], [1]),
    }
    assert found["wide"]["min"] == [0]
    assert found["wide"]["max"] == pytest.approx([255 * 0.7])
    assert found["share"] == found["images"] == table["share"]
    assert found["weight"]["scale"] == pytest.approx([0.5, 0.25])
    assert found["weight"]["qtype"] == "kept"
    assert counts == {"activations": 3, "given": 3, "weights": 1, "exact": 1}
    assert with_given_grids(helper.make_model(graph), table, {}, per_channel=False)[0] == table


class Photographs:
    """Images of noise, as the network takes them."""

    def __init__(self, images: list[np.ndarray]) -> None:  # type: ignore[type-arg]  # (1, 3, H, W) uint8
        self._left = [{"images": image.astype(np.float32) / 255} for image in images]

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[type-arg]  # float32
        """The next image."""
        return self._left.pop() if self._left else None


def relu_network() -> onnx.ModelProto:
    """Two convolutions, a pooling and a concatenation, rounded by the NPU where onnxruntime rounds."""
    graph = KindGraph((SIZE, SIZE))
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=size).astype(np.float32) for size in ((8, 3, 3, 3), (8, 8, 3, 3))]
    first = graph.node("Conv", "images", graph.constant(weights[0]), pads=[1, 1, 1, 1])
    pooled = graph.node("MaxPool", graph.node("Relu", first), kernel_shape=[2, 2], strides=[2, 2])
    second = graph.node("Conv", pooled, graph.constant(weights[1]), pads=[1, 1, 1, 1])
    return graph.show(graph.node("Concat", graph.node("Relu", second), pooled, axis=1)).model()


@pytest.mark.slow
def test_the_simulator_computes_the_file(tmp_path: Path) -> None:
    """The built model's integers are those of onnxruntime's run of the quantized file, but for a step."""
    from onnxruntime import quantization  # imports torch

    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (1, 3, SIZE, SIZE), np.uint8) for _ in range(3)]
    dark = [np.asarray(image // 2, np.uint8) for image in images]  # with which the toolkit calibrates
    dark[0][..., 0, 0] = 255  # the network's input has the range of all pixels on both sides
    onnx.save(relu_network(), str(tmp_path / "float.onnx"))
    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Photographs(images),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    rounded = onnx.load(str(tmp_path / "int8.onnx"))
    onnx.save(with_float_weights(rounded), str(tmp_path / "read.onnx"))
    grids = activation_grids(rounded)
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        options = ToolkitOptions("rk3588", "int8")
        built = toolkit.build(
            tmp_path / "read.onnx", options, dark, tmp_path / "model.rknn", tmp_path / "kept", given=grids
        )
        simulated = next(iter(toolkit.simulate(images[0].transpose(0, 2, 3, 1)).values()))
    assert built.given is not None
    assert built.given.exact == built.given.weights == 2
    assert built.given.given == built.given.activations
    output = built.outputs[0].quantization
    assert output is not None
    assert (output.scale, output.zero_point) == pytest.approx(grids[rounded.graph.output[0].name])
    wanted = next(iter(Session(rounded).run({"images": images[0].astype(np.float32) / 255}).values()))
    steps = np.abs(simulated - wanted) / output.scale
    assert steps.max() < 1.5
    assert (steps > 0.5).mean() < 0.0002
