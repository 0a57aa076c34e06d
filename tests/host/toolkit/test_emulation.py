"""Emulation of INT8: operators by hand, and every node against the simulator's tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.toolkit import files
from rkdeploy.host.toolkit.emulated_operators import UnsupportedFormError, operators
from rkdeploy.host.toolkit.emulation import EmulatedNetwork, Grid
from rkdeploy.host.toolkit.toolkit import Toolkit
from tests.benchmarks.emulation_differences import node_differences
from tests.host.toolkit.test_toolkit import HEIGHT, INT8, WIDTH, images


@pytest.fixture(scope="module")
def torch() -> Any:
    """PyTorch, imported by the first test that needs it."""
    return pytest.importorskip("torch")


def computed(operator: str, *inputs: object, **attributes: Any) -> list[float]:
    """Result of an operator, flat."""
    import torch

    tensors = [torch.as_tensor(one) for one in inputs]
    return [round(float(value), 4) for value in operators()[operator](tensors, attributes)[0].flatten()]


def test_activations_by_hand(torch: Any) -> None:
    """Both sides of every kink."""
    values = torch.tensor([-4.0, -1.0, 2.0, 8.0])
    assert computed("LeakyRelu", values, alpha=0.1) == [-0.4, -0.1, 2.0, 8.0]
    assert computed("PRelu", values, [0.5]) == [-2.0, -0.5, 2.0, 8.0]
    assert computed("Clip", values, 0.0, 6.0) == [0.0, 0.0, 2.0, 6.0]
    assert computed("HardSigmoid", values, alpha=0.1, beta=0.5) == [0.1, 0.4, 0.7, 1.0]
    assert computed("HardSwish", values) == [0.0, -0.3333, 1.6667, 8.0]


def test_attention_rounds_its_products_and_weights(torch: Any) -> None:
    """Two positions with equal keys share the value; where the grid has no 0.5, they get what is nearest."""
    query, key = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    value = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
    assert computed("exSDPAttention", query, key, value, scale=0.5) == [3.0, 3.0]
    coarse = {"q_softmax": Grid(0.4, -128)}
    assert computed("exSDPAttention", query, key, value, scale=0.5, inner=coarse) == [2.4, 2.4]


def test_norms_and_sizes_by_hand(torch: Any) -> None:
    """A norm over channels, a mean of four pixels, the pixel centers of a linear resize."""
    channels = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    assert computed("exNorm", channels, torch.tensor(2.0), torch.tensor(1.0), axes=[1], eps=0.0) == [-1.0, 3.0]
    pixels = torch.tensor([[0.0, 4.0], [8.0, 12.0]]).view(1, 1, 2, 2)
    assert computed("AveragePool", pixels, kernel_shape=[2, 2]) == [6.0]
    size = torch.tensor([1, 1, 2, 4])
    linear = computed("Resize", pixels, size, mode=b"linear", coordinate_transformation_mode=b"half_pixel")
    assert linear == [0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0, 12.0]
    with pytest.raises(UnsupportedFormError, match="Resize"):
        computed("Resize", pixels, size, mode=b"cubic")


def many_operators(path: Path) -> Path:
    """Activations, a gate by channel, a linear resize, attention and the joining of two branches."""
    random = np.random.default_rng(3)
    tensors, nodes, make = [], [], helper.make_node

    def conv(name: str, source: str, shape: tuple[int, int, int, int], **attributes: Any) -> None:
        weight = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        tensors.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.w"))
        tensors.append(numpy_helper.from_array(random.standard_normal(shape[0]).astype(np.float32), f"{name}.b"))
        nodes.append(make("Conv", [source, f"{name}.w", f"{name}.b"], [name], kernel_shape=shape[2:], **attributes))

    constants = {
        "low": np.array(0, np.float32), "high": np.array(6, np.float32), "factor": np.array(0.25, np.float32),
        "rows": np.array([1, 1, 32, 32]), "parts": np.array([8, 8, 16]), "map": np.array([1, 16, 4, 8]),
        "none": np.zeros(0, np.float32), "doubled": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    tensors += [numpy_helper.from_array(value, name) for name, value in constants.items()]
    conv("stem", "images", (16, 3, 3, 3), strides=[4, 4], pads=[1, 1, 1, 1])
    nodes.append(make("LeakyRelu", ["stem"], ["leaky"], alpha=0.1))
    conv("depthwise", "leaky", (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1])
    nodes.append(make("HardSwish", ["depthwise"], ["swished"]))
    nodes.append(make("GlobalAveragePool", ["swished"], ["pooled"]))
    conv("gate", "pooled", (16, 16, 1, 1))
    nodes.append(make("HardSigmoid", ["gate"], ["gated"], alpha=0.1666667, beta=0.5))
    nodes.append(make("Mul", ["swished", "gated"], ["scaled"]))
    conv("down", "scaled", (32, 16, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    nodes += [
        make("Reshape", ["down", "rows"], ["down_rows"]),
        make("Split", ["down_rows", "parts"], ["q", "k", "v"], axis=2),
        make("Transpose", ["q"], ["qt"], perm=[0, 1, 3, 2]),
        make("MatMul", ["qt", "k"], ["qk"]),
        make("Mul", ["qk", "factor"], ["qk_scaled"]),
        make("Softmax", ["qk_scaled"], ["attention"], axis=-1),
        make("Transpose", ["attention"], ["attention_t"], perm=[0, 1, 3, 2]),
        make("MatMul", ["v", "attention_t"], ["mixed"]),
        make("Reshape", ["mixed", "map"], ["mixed_map"]),
        make("Resize", ["mixed_map", "none", "doubled"], ["up"], mode="linear",
             coordinate_transformation_mode="half_pixel"),
    ]  # fmt: skip
    conv("side", "leaky", (16, 16, 1, 1))
    nodes.append(make("Clip", ["side", "low", "high"], ["clipped"]))
    nodes.append(make("Concat", ["up", "clipped"], ["joined"], axis=1))
    conv("head", "joined", (8, 32, 1, 1))
    nodes.append(make("Sigmoid", ["head"], ["out"]))
    graph = helper.make_graph(
        nodes,
        "many",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, HEIGHT // 4, WIDTH // 4])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_every_node_is_the_simulators(tmp_path: Path, torch: Any) -> None:
    """Each node gets the simulator's own inputs: no value is off by more than the one step of a tie."""
    with Toolkit(log=tmp_path / "toolkit.log") as toolkit:
        graph = many_operators(tmp_path / "many.onnx")
        built = toolkit.build(graph, INT8, images(8), tmp_path / "many.rknn", tmp_path / "kept")
        image = images(1, seed=3)[0][None]
        toolkit.analyze(image, tmp_path / "tensors")
    assert built.kept is not None
    assert built.kept.data is not None
    table = files.read_step1_data(str(built.kept.data))["quant_tab"]
    network = EmulatedNetwork(onnx.load(built.kept.model), table, (), operators())
    values = (image.astype(np.float32) - np.array(INT8.mean, np.float32)) / np.array(INT8.std, np.float32)
    given = torch.from_numpy(values.transpose(0, 3, 1, 2).copy())
    found = list(node_differences(network, tmp_path / "tensors", given))
    assert {one.operator for one in found} >= {
        "LeakyRelu", "HardSwish", "HardSigmoid", "Clip", "Mul", "exSDPAttention", "Resize", "Sigmoid", "Split",
    }  # fmt: skip
    for one in found:
        assert one.largest < 1.01, one.tensor
        assert one.other < (0.1 if one.operator == "Resize" else 0.01), one.tensor
