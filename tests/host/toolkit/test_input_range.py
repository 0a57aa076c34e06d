"""The grid of the network's input: one step per pixel value."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.toolkit.files import with_ranges
from rkdeploy.host.toolkit.input_range import on_pixel_steps, pixel_range

DARK = {"dtype": "int8", "qtype": "asym", "scale": [200 / 255 / 255], "zero_point": [-128], "min": [0.0]}
WIDE = {**DARK, "scale": [0.1], "zero_point": [-30]}


def graph_behind(first: onnx.NodeProto, *weights: onnx.TensorProto) -> onnx.ModelProto:
    """The input's conversion, a node, and a convolution behind it."""
    graph = helper.make_graph(
        [
            helper.make_node("exDataConvert", ["images"], ["images_int8"]),
            first,
            helper.make_node("Conv", ["moved", "trained"], ["out"], kernel_shape=[1, 1]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        initializer=[*weights, numpy_helper.from_array(np.full((1, 4, 1, 1), 0.3, np.float32), "trained")],
    )
    return helper.make_model(graph)


def space_to_depth() -> onnx.ModelProto:
    """A convolution that moves each 2x2 pixels into four channels."""
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32).reshape(4, 1, 2, 2), "moving")
    node = helper.make_node("Conv", ["images_int8", "moving"], ["moved"], kernel_shape=[2, 2], strides=[2, 2])
    return graph_behind(node, weights)


def changed(model: onnx.ModelProto, table: dict[str, Any]) -> dict[str, tuple[float, float]]:
    limits = pixel_range([0.0], [255.0])
    assert limits is not None
    return on_pixel_steps(model, table, limits)


@pytest.mark.parametrize(("mean", "std"), [(0, 255), (127, 128), (0, 1), (114, 57.5)])
def test_pixels_are_exact(mean: float, std: float) -> None:
    """On the steps of the range every pixel value is one integer, and comes back as it was."""
    limits = pixel_range([mean] * 3, [std] * 3)
    assert limits is not None
    grid = with_ranges({"images_int8": {}}, {"images_int8": limits})["images_int8"]
    values = (np.arange(256) - mean) / std
    steps = np.rint(values / grid["scale"][0]) + grid["zero_point"][0]
    assert steps.tolist() == list(range(-128, 128))
    np.testing.assert_allclose((steps - grid["zero_point"][0]) * grid["scale"][0], values, atol=1e-6 / std)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([123.675, 116.28, 103.53], [58.4, 57.1, 57.4]),
        ([127.5] * 3, [127.5] * 3),
        ([0, 0, 0], [255, 255, 250]),
        ([-1], [1]),
    ],
)
def test_no_common_grid(mean: list[float], std: list[float]) -> None:
    """Channels scaled or shifted differently, and a mean between two values: the toolkit's range stays."""
    assert pixel_range(mean, std) is None


def test_dark_images() -> None:
    """The input and the values that only move get the grid of the pixels; what is computed from them keeps its own."""
    table = {"images_int8": DARK, "moved": DARK, "out": WIDE}
    assert changed(space_to_depth(), table) == {"images_int8": (0.0, 1.0), "moved": (0.0, 1.0)}


def test_a_computed_tensor_is_not_moved() -> None:
    """Not even one that has the input's grid by chance: other weights than one 1 for each result."""
    model = space_to_depth()
    weights = np.eye(4, dtype=np.float32).reshape(4, 1, 2, 2) * 0.5
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "moving"))
    assert list(changed(model, {"images_int8": DARK, "moved": DARK, "out": WIDE})) == ["images_int8"]


def test_whole_range_is_left() -> None:
    """Images with a black and a white pixel give this grid by themselves."""
    whole = {**DARK, "scale": [float(np.float32(1 / 255))]}
    assert changed(space_to_depth(), {"images_int8": whole, "moved": whole, "out": WIDE}) == {}


@pytest.mark.parametrize("entry", [{**DARK, "dtype": "int16"}, {**DARK, "qtype": "sym"}, {}])
def test_other_types_are_left(entry: dict[str, Any]) -> None:
    node = helper.make_node("MaxPool", ["images_int8"], ["moved"], kernel_shape=[1, 1])
    assert changed(graph_behind(node), {"images_int8": entry, "moved": DARK, "out": WIDE}) == {}
