"""Variants of an emulated network: some layers unquantized, or one alone quantized; by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.toolkit.emulated_operators import operators
from rkdeploy.host.toolkit.emulated_variants import EmulatedVariants, TooLargeError
from rkdeploy.host.toolkit.emulation import EmulatedNetwork, EmulatedRun
from tests.host.toolkit.test_bias_correction import entry


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, imported by the first test that needs it."""
    return pytest.importorskip("torch")


def two_convolutions() -> onnx.ModelProto:
    """A convolution by 0.6 with a ReLU, then one by 0.7."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "first"], ["linear"], kernel_shape=[1, 1]),
            helper.make_node("Relu", ["linear"], ["middle"]),
            helper.make_node("Conv", ["middle", "second"], ["out"], kernel_shape=[1, 1]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 1, 1, 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 1, 2])],
        [
            numpy_helper.from_array(np.full((1, 1, 1, 1), value, np.float32), name)
            for name, value in (("first", 0.6), ("second", 0.7))
        ],
    )
    return helper.make_model(graph)


TABLE = {
    "first": entry(0.25, 0),  # 0.6 becomes 0.5
    "second": entry(0.5, 0),  # 0.7 becomes 0.5
    "linear": entry(7.0, 0) | {"qmode_dtype": "float32"},
    "middle": entry(1.0, -128),
    "out": entry(0.25, -128),
}


@pytest.fixture
def variants(torch: Any) -> EmulatedVariants:
    """The network with both models' tensors of the pixels 5 and -1."""
    made = EmulatedVariants(EmulatedNetwork(two_convolutions(), TABLE, (), operators()), EmulatedRun)
    made.take(torch.tensor([[[[5.0, -1.0]]]]))
    return made


def first_value(outputs: list[Any]) -> float:
    """Value of the first pixel of the only output; the second, behind the ReLU, is 0."""
    assert float(outputs[0].flatten()[1]) == 0
    return round(float(outputs[0].flatten()[0]), 4)


def test_layers(variants: EmulatedVariants) -> None:
    """A convolution and its activation are one layer."""
    assert variants.layers() == [
        {"name": "middle", "op": "Conv", "tensors": ["linear", "middle"], "weighted": True},
        {"name": "out", "op": "Conv", "tensors": ["out"], "weighted": True},
    ]


def test_layers_in_float_by_hand(variants: EmulatedVariants) -> None:
    """5 * 0.5 is 2.5, which rounds to 2; 5 * 0.6 is 3; both are halved, or multiplied by 0.7."""
    one, other = ["linear", "middle"], ["out"]
    assert first_value(variants.outputs(quantized=True)) == 1.0
    assert first_value(variants.outputs(quantized=True, weights=["linear"])) == 1.5
    assert first_value(variants.outputs(quantized=True, tensors=one)) == 1.25
    assert first_value(variants.outputs(quantized=True, weights=["linear"], tensors=one)) == 1.5
    assert first_value(variants.outputs(quantized=True, weights=["out"], tensors=other)) == 1.4
    both = variants.outputs(quantized=True, weights=["linear", "out"], tensors=[*one, *other])
    assert first_value(both) == first_value(variants.outputs(quantized=False)) == 2.1


def test_what_is_behind_a_float16_layer_rounds_it(variants: EmulatedVariants) -> None:
    """The first layer gives 3.0 or, with rounded weights, 2.5; the second reads steps of 1 unless it is float16 too."""
    tensors = ["linear", "middle"]
    assert first_value(variants.outputs(quantized=True, tensors=tensors, readers_round=True)) == 1.0
    both = variants.outputs(quantized=True, weights=["out"], tensors=[*tensors, "out"], readers_round=True)
    assert first_value(both) == 1.75


def test_one_layer_alone_by_hand(variants: EmulatedVariants) -> None:
    """Only the first is quantized: 2 * 0.7.  Only the second: 3 * 0.5."""
    assert first_value(variants.outputs(quantized=False, weights=["linear"], tensors=["linear", "middle"])) == 1.4
    assert first_value(variants.outputs(quantized=False, weights=["out"], tensors=["out"])) == 1.5


def test_corrected_biases_are_those_of_the_quantized_model(torch: Any) -> None:
    """The float model keeps its own."""
    model = two_convolutions()
    model.graph.node[2].input.append("bias")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "bias"))
    network = EmulatedNetwork(model, TABLE, (), operators())
    made = EmulatedVariants(network, EmulatedRun, {"bias": torch.tensor([1.0])})
    made.take(torch.tensor([[[[5.0, 5.0]]]]))
    assert float(made.outputs(quantized=True)[0].flatten()[0]) == 2.0
    assert round(float(made.outputs(quantized=False)[0].flatten()[0]), 4) == 2.1
    assert float(made.outputs(quantized=True, tensors=["linear", "middle"])[0].flatten()[0]) == 2.25


def test_a_network_too_large_is_refused(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its tensors take the memory."""
    monkeypatch.setattr("rkdeploy.host.toolkit.emulated_variants.MOST_VALUES", 5)
    made = EmulatedVariants(EmulatedNetwork(two_convolutions(), TABLE, (), operators()), EmulatedRun)
    with pytest.raises(TooLargeError, match="million values"):
        made.take(torch.tensor([[[[5.0, -1.0]]]]))
