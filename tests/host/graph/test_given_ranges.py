"""Grids of activations in quantized ONNX files: by onnxruntime's quantizers, and pairs written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.float_weights import with_float_weights
from rkdeploy.host.graph.given_ranges import activation_grids, grids_of_cut
from rkdeploy.host.graph.head import Head, Tap
from tests.host.graph.test_float_weights import network, quantized

Zero = NDArray[Any]


def pairs(*grids: tuple[Any, Zero | None]) -> onnx.ModelProto:
    """A tensor "x" that every reader rounds in its own way."""
    nodes, constants = [], []
    for index, (scale, zero) in enumerate(grids):
        names = [f"scale{index}", *([f"zero{index}"] if zero is not None else [])]
        constants.append(numpy_helper.from_array(np.asarray(scale, np.float32), names[0]))
        if zero is not None:
            constants.append(numpy_helper.from_array(zero, names[1]))
        nodes.append(helper.make_node("QuantizeLinear", ["x", *names], [f"q{index}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{index}", *names], [f"y{index}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y0")]
    return helper.make_model(helper.make_graph(nodes, "pairs", ends[:1], ends[1:], constants))


@pytest.mark.parametrize(
    ("zero", "expected"), [(np.uint8(3), 3 - 128), (np.int8(-7), -7), (np.int8(0), 0), (None, -128)]
)
def test_unsigned_integers_are_shifted(zero: Any, expected: int) -> None:
    """Integers from 0 to 255 with the zero point z have the values of those from -128 with z - 128."""
    found = activation_grids(pairs((0.5, None if zero is None else np.asarray(zero))))
    assert found["x"] == found["q0"] == (0.5, expected)


def test_readers_with_grids_of_their_own() -> None:
    """A tensor that is rounded in two ways gets the range of both: -64 to 63.5, and 0 to 127.5."""
    found = activation_grids(pairs((0.5, np.asarray(np.int8(0))), (0.5, np.asarray(np.uint8(0)))))
    scale, zero = found["x"]
    assert ((-128 - zero) * scale, (127 - zero) * scale) == pytest.approx((-64, 127.5), abs=scale / 2)
    assert (found["y0"], found["y1"]) == ((0.5, 0), (0.5, -128))


@pytest.mark.parametrize(
    ("scale", "zero"),
    [(0.5, np.asarray(np.uint16(0))), ([0.5, 0.25], np.zeros(2, np.int8)), (0.0, None), (np.nan, None), (np.inf, None)],
)
def test_other_grids_are_left_out(scale: Any, zero: Zero | None) -> None:
    """16 bits, a scale per channel, and scales that are not numbers above 0."""
    assert activation_grids(pairs((scale, zero))) == {}


@pytest.mark.parametrize("form", ["pairs", "operators"])
def test_names_are_those_of_the_float_form(form: str, tmp_path: Path) -> None:
    """Every convolution of the float form, or the ReLU behind it, has the grid of the quantizer's own file."""
    rounded = quantized(network(), form, tmp_path)
    grids = activation_grids(rounded)
    restored = with_float_weights(rounded)
    names = {name for node in restored.graph.node for name in (*node.input, *node.output)}
    assert len(names & grids.keys()) >= 7
    relu = next(node for node in restored.graph.node if node.op_type == "Relu")
    assert grids[relu.output[0]][1] == -128 or grids[relu.input[0]][1] == -128


def test_weights_are_not_activations(tmp_path: Path) -> None:
    """Constants have no entry, and a file with integer weights alone has none at all."""
    rounded = quantized(network(), "pairs", tmp_path)
    assert not {c.name for c in rounded.graph.initializer} & activation_grids(rounded).keys()
    assert activation_grids(quantized(network(), "dynamic", tmp_path)) == {}


def test_outputs_of_the_cut_have_the_grids_of_the_head() -> None:
    """By the contract's names; an output behind the sigmoid of the cut has none."""
    boxes = Tap("conv1", "boxes", "dfl_boxes", (1, 64, 4, 4), 8)
    scores = Tap("conv2", "scores", "scores", (1, 2, 4, 4), 8)
    head = Head((boxes, scores), 2)
    grids = {"boxes": (0.1, 3), "scores": (0.2, 4)}
    cut = grids_of_cut(grids, head, CutOptions())
    assert cut == {**grids, "stride8_dfl_boxes": (0.1, 3)}
    assert grids_of_cut(grids, head, CutOptions(sigmoid="none"))["stride8_scores"] == (0.2, 4)
