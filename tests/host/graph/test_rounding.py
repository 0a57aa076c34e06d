"""The measured float32 noise of small networks, compared with the arithmetic's own estimate."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.rounding import UNIT_ROUNDOFF, RoundingNoise
from rkdeploy.host.graph.session import Session

PRODUCTS = 64


def network(weight: NDArray[np.float32], op: str = "Conv", cells: int = 16) -> onnx.ModelProto:
    """One sum over 64 channels: (1, 64, cells, 1) to (1, outputs, cells, 1), or a matrix product of (1, 64)."""
    shape = (1, PRODUCTS, cells, 1) if op == "Conv" else (1, PRODUCTS)
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "weight"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def noise_of(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float64]:
    return RoundingNoise(model).of({"x": x}, Session(model).run({"x": x}))["y"]


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_a_sum_moves_by_the_root_of_its_products(op: str) -> None:
    """64 products of 1: the sum of 64 moves by some sqrt(64) * 2^-24 of itself, within what chance makes of it."""
    weight = np.ones((8, PRODUCTS, 1, 1) if op == "Conv" else (PRODUCTS, 8), np.float32)
    x = np.ones((1, PRODUCTS, 16, 1) if op == "Conv" else (1, PRODUCTS), np.float32)
    noise = noise_of(network(weight, op), x)
    assert noise.shape == ((1, 8, 1, 1) if op == "Conv" else (1, 8))
    expected = PRODUCTS * np.sqrt(PRODUCTS) * UNIT_ROUNDOFF
    assert (0.3 * expected < noise).all()
    assert (noise < 5 * expected).all()


def test_noise_covers_another_order_of_summation() -> None:
    """Products of mixed signs added the other way round differ by less than four times the noise."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((4, PRODUCTS, 1, 1)).astype(np.float32)
    x = rng.standard_normal((1, PRODUCTS, 500, 1)).astype(np.float32)
    products = weight[:, :, 0, 0][:, :, None] * x[0, :, :, 0][None]
    forward, backward = np.zeros((4, 500), np.float32), np.zeros((4, 500), np.float32)
    for k in range(PRODUCTS):
        forward += products[:, k]
        backward += products[:, PRODUCTS - 1 - k]
    noise = noise_of(network(weight, cells=500), x)[0, :, 0]
    difference = np.abs(forward - backward).max(axis=1, keepdims=True)
    assert (difference > 0).all()
    assert (difference < 4 * noise).all()


def test_a_channel_of_one_cell_counts_for_no_less_than_its_tensor() -> None:
    """A channel whose weights are 0 does not move, and is given the root mean square of the others."""
    weight = np.ones((2, PRODUCTS, 1, 1), np.float32)
    weight[1] = 0
    noise = noise_of(network(weight, cells=1), np.ones((1, PRODUCTS, 1, 1), np.float32))[0, :, 0, 0]
    assert noise[1] > 0
    assert noise[0] > noise[1] > 0.3 * noise[0]


def test_the_same_network_has_the_same_noise() -> None:
    """The copies are seeded."""
    model = network(np.ones((2, PRODUCTS, 1, 1), np.float32))
    x = np.ones((1, PRODUCTS, 16, 1), np.float32)
    assert np.array_equal(noise_of(model, x), noise_of(model, x))
