"""Multiply-accumulates from shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.analysis.report.macs import layer_macs
from rkdeploy.contract.compiled_model import CompiledLayer, Shape
from tests.analysis.report.report_samples import compiled

LAYER = CompiledLayer(1, "ConvExSwish", "a", "INT8", "NPU", (), (1, 16, 10, 20), 0, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("op", "inputs", "output", "expected"),
    [
        ("Conv", ((1, 3, 20, 40), (16, 3, 6, 6), (16,)), (1, 16, 10, 20), 16 * 200 * 3 * 36),
        ("ConvRelu", ((1, 64, 8, 8), (1, 64, 3, 3), (64,)), (1, 64, 8, 8), 64 * 64 * 9),  # depthwise
        ("ConvAdd", ((1, 64, 8, 8), (32, 16, 1, 1), (32,)), (1, 32, 8, 8), 32 * 64 * 16),  # four groups
        ("ConvClip", ((1, 80, 8, 8), (1, 80, 1, 1), (1,)), (1, 1, 8, 8), 64 * 80),  # one output channel, all inputs
        ("ConvTranspose", ((1, 64, 20, 20), (64, 64, 2, 2), (64,)), (1, 64, 40, 40), 64 * 400 * 64 * 4),
        ("exMatMul", ((2, 32, 1, 400), (2, 32, 1, 400), (1, 1, 1, 1)), (2, 400, 1, 400), 2 * 32 * 400 * 400),
        ("exMatMul", ((2, 400, 1, 64), (2, 400, 1, 400)), (2, 64, 1, 400), 2 * 400 * 64 * 400),
        ("exSDPAttention", ((2, 32, 1, 400), (2, 32, 1, 400)), (2, 64, 1, 400), 2 * 400 * 400 * (32 + 64)),
        ("Concat", ((1, 16, 10, 20), (1, 16, 10, 20)), (1, 32, 10, 20), 0),
        ("MaxPool", ((1, 16, 10, 20),), (1, 16, 10, 20), 0),
        ("Conv", (), (1, 16, 10, 20), None),
        ("Conv", ((1, 10**6, 10**6, 1), (300_000, 10**6, 3, 1)), (1, 10**6, 10**6, 1), None),
    ],
)
def test_macs_by_hand(op: str, inputs: tuple[Shape, ...], output: Shape, expected: int | None) -> None:
    """Convolutions plain, grouped, depthwise and transposed; products; attention; what multiplies nothing."""
    assert layer_macs(replace(LAYER, op=op, input_shapes=inputs, output_shape=output)) == expected


@pytest.mark.parametrize(
    ("log", "published"),
    [  # half of the GFLOPs that ultralytics publishes for these at 640
        ("2.5.0_yolov5n_rk3588_int8", 4.5e9 / 2),
        ("2.5.0_yolov8n_rk3588_int8", 8.7e9 / 2),
        ("2.5.0_yolo11n_rk3588_int8", 6.5e9 / 2),
    ],
)
def test_whole_networks_are_as_published(log: str, published: float) -> None:
    """The sum over a compiled network is the published one within 3 %: nothing is counted twice or left out."""
    total = sum(layer_macs(layer) or 0 for layer in compiled(log).layers)
    assert total == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(("dtype", "most"), [("int8", 1024), ("fp16", 512)])
def test_no_layer_computes_more_than_the_chip(dtype: str, most: int) -> None:
    """Multiply-accumulates a cycle never exceed the rk3588's 1,024 in INT8 and 512 in FP16, and some layer has them."""
    layers = [layer for layer in compiled(f"2.5.0_yolov5n_rk3588_{dtype}").layers if layer.npu_cycles]
    assert max((layer_macs(layer) or 0) / layer.npu_cycles for layer in layers) == most
