"""Costs of speed are reported where they apply, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.contract.compiled_model import CompiledLayer, CompiledModel
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.families.speed_advice import advice_for, advice_on_compiled

DATA = Path(__file__).parents[2] / "data" / "yolov5"


def info_of(case: str) -> ModelInfo:
    checkpoint = read_checkpoint(DATA / f"{case}.pt")
    info = family_of(checkpoint).describe(checkpoint)
    return replace(info, training=replace(info.training, image_size=None))


def topics(info: ModelInfo, hw: tuple[int, int] | None = None) -> list[str]:
    return [advice.topic for advice in advice_for(info, hw)]


@pytest.mark.parametrize(("case", "expected"), [("v7_n", ["activation"]), ("relu", []), ("leaky", [])])
def test_activation(case: str, expected: list[str]) -> None:
    """Smooth activations are named with the recipe; ReLU and LeakyReLU are left alone."""
    assert topics(info_of(case)) == expected


def test_recipe_names_the_family_s_own_key() -> None:
    """The recipe is what YOLOv5's own yaml takes."""
    assert "`activation: nn.ReLU()`" in advice_for(info_of("v7_n"))[0].text


@pytest.mark.parametrize(
    ("hw", "expected"),
    [
        ((640, 640), []),
        ((384, 640), []),
        ((736, 1280), ["input size"]),
        ((1280, 1280), ["input size"]),
        ((48, 80), ["input size"]),
    ],
)
def test_input_size(hw: tuple[int, int], expected: list[str]) -> None:
    """Inputs much larger than 640x640, and those that are not a multiple of 32, are named."""
    assert topics(info_of("relu"), hw) == expected


def test_large_input_by_hand() -> None:
    """1280x1280 has four times the pixels of 640x640."""
    (advice,) = advice_for(info_of("relu"), (1280, 1280))
    assert "4.0 times the pixels" in advice.text


def test_attention() -> None:
    """A block with attention is named."""
    info = replace(info_of("relu"), blocks=(("Conv", 4), ("C2PSA", 1)))
    assert topics(info) == ["attention"]
    assert "C2PSA" in advice_for(info)[0].text


def layer(number: int, op: str, target: str) -> CompiledLayer:
    return CompiledLayer(number, op, f"node{number}", "INT8", target, ((1, 3, 8, 8),), (1, 3, 8, 8), 0, 0, 0, 1.0)


def test_layers_on_the_cpu() -> None:
    """Layers that the compiler puts on the CPU are counted and named; the model's ends, which always lie there, not."""
    ends = (layer(0, "InputOperator", "CPU"), layer(3, "OutputOperator", "CPU"))
    on_npu = CompiledModel((*ends, layer(1, "Conv", "NPU")), (), (), 0.0, 0.0)
    assert advice_on_compiled(on_npu) == ()
    (advice,) = advice_on_compiled(replace(on_npu, layers=(*on_npu.layers, layer(2, "Softmax", "CPU"))))
    assert "1 layer on the CPU: Softmax (node2)" in advice.text
