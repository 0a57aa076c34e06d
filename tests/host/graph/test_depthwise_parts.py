"""Depthwise convolutions in parts: equal values, and finer steps for the channels that need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import VerificationError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.depthwise_parts import depthwise_hint, split_channels, uneven_depthwise, with_depthwise_parts
from rkdeploy.host.graph.rewrite_proof import verify_rewrite
from rkdeploy.host.graph.session import Session

YOLOX = Path(__file__).parents[2] / "data" / "yolox"


def graph(scales: NDArray[np.float64], activation: str = "silu", *, second_reader: bool = False) -> onnx.ModelProto:
    """A 1x1 convolution, a depthwise one whose channels multiply by `scales`, and a 1x1 one."""
    rng = np.random.default_rng(0)
    count = len(scales)
    shapes = {"a": (count, 3, 1, 1), "b": (count, 1, 3, 3), "c": (2, count, 1, 1)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weights["a"] /= scales[:, None, None, None]
    weights["b"] *= scales[:, None, None, None]
    constants = [numpy_helper.from_array(w.astype(np.float32), f"{name}.w") for name, w in weights.items()]
    constants += [
        numpy_helper.from_array(rng.normal(size=len(w)).astype(np.float32), f"{n}.b") for n, w in weights.items()
    ]
    nodes, value = [], "images"
    for name in "abc":
        settings: dict[str, Any] = {"group": count, "pads": [1] * 4} if name == "b" else {}
        nodes.append(helper.make_node("Conv", [value, f"{name}.w", f"{name}.b"], [name], name=name, **settings))
        value = name
        if name != "c" and activation == "silu":
            nodes.append(helper.make_node("Sigmoid", [name], [f"{name}.gate"]))
            nodes.append(helper.make_node("Mul", [name, f"{name}.gate"], [f"{name}.act"]))
            value = f"{name}.act"
        elif name != "c" and activation:
            nodes.append(helper.make_node(activation, [name], [f"{name}.act"]))
            value = f"{name}.act"
    outputs = ["c", "a.act"] if second_reader else ["c"]
    shapes_of = {"c": (1, 2, 8, 8), "a.act": (1, count, 8, 8)}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes_of[name]) for name in outputs]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8))
    made = helper.make_graph(nodes, "small", [image], infos, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


UNEVEN = np.array([0.1, 100.0, 1.0, 0.2, 90.0, 2.0, 0.1, 30.0])


@pytest.mark.parametrize("activation", ["silu", "Relu", "HardSwish", ""])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_values_stay(activation: str, parts: int) -> None:
    model = graph(UNEVEN, activation)
    if activation == "HardSwish":
        model.opset_import[0].version = 14
    changed = with_depthwise_parts(model, parts)
    onnx.checker.check_model(changed, full_check=True)
    image = {"images": np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    expected, got = (Session(m).run(image)["c"] for m in (model, changed))
    assert np.abs(expected - got).max() <= 1e-5 * np.abs(expected).max()
    groups = [a.i for n in changed.graph.node for a in n.attribute if a.name == "group"]
    assert len(groups) == parts
    assert sum(groups) == len(UNEVEN)
    assert {constant.name for constant in changed.graph.initializer} <= {n for x in changed.graph.node for n in x.input}


def test_parts_by_hand() -> None:
    """Weights 100 and 90 belong together, and so do 0.1 and 0.2: with ranges of 1 / w these costs are smallest."""
    parts, cost = split_channels(UNEVEN, 3)
    assert [sorted(UNEVEN[part].tolist()) for part in parts] == [[30.0, 90.0, 100.0], [1.0, 2.0], [0.1, 0.1, 0.2]]
    expected = [(30**2 + 90**2 + 100**2) / 30**2, (1 + 2**2) / 1, (0.1**2 + 0.1**2 + 0.2**2) / 0.1**2]
    assert cost == pytest.approx(sum(expected))
    assert split_channels(UNEVEN, 1)[1] == pytest.approx((UNEVEN**2).sum() / 0.1**2)


def test_more_parts_than_channels() -> None:
    parts, cost = split_channels(np.array([1.0, 5.0]), 4)
    assert [part.tolist() for part in parts] == [[1], [0]]
    assert cost == pytest.approx(2)


@pytest.mark.parametrize(
    ("model", "uneven"),
    [
        (graph(UNEVEN), 1),
        (graph(np.linspace(1.0, 1.1, 8)), 0),  # even channels gain nothing
        (graph(UNEVEN, second_reader=True), 0),  # the input would have to be joined again for the other reader
    ],
)
def test_what_is_left_alone(model: onnx.ModelProto, uneven: int) -> None:
    assert uneven_depthwise(model) == uneven
    assert (with_depthwise_parts(model, 3) is model) == (uneven == 0)
    assert with_depthwise_parts(model, 1) is model


def test_rounded_inputs_lose_less() -> None:
    """With 8 bits for the depthwise convolution's input, per tensor, the error of the end falls by far."""
    model = graph(UNEVEN)
    image = {"images": np.random.default_rng(2).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    exact = Session(model).run(image)["c"]
    errors = []
    for candidate in (model, with_depthwise_parts(model, 3)):
        inputs = [n.input[0] for n in candidate.graph.node if any(a.name == "group" for a in n.attribute)]
        seen = onnx.ModelProto()
        seen.CopyFrom(candidate)
        seen.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in inputs)
        values = Session(seen).run(image)
        rounded = onnx.ModelProto()
        rounded.CopyFrom(candidate)
        for name in inputs:
            low, high = float(min(values[name].min(), 0)), float(values[name].max())
            step = (high - low) / 255
            rounded.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), f"{name}.step"))
            chain = [
                helper.make_node("Div", [name, f"{name}.step"], [f"{name}.1"]),
                helper.make_node("Round", [f"{name}.1"], [f"{name}.2"]),
                helper.make_node("Mul", [f"{name}.2", f"{name}.step"], [f"{name}.rounded"]),
            ]
            at = next(i for i, n in enumerate(rounded.graph.node) if name in n.input)
            rounded.graph.node[at].input[0] = f"{name}.rounded"
            nodes = list(rounded.graph.node)
            del rounded.graph.node[:]
            rounded.graph.node.extend([*nodes[:at], *chain, *nodes[at:]])
        errors.append(float(np.abs(Session(rounded).run(image)["c"] - exact).mean()))
    assert errors[1] < 0.3 * errors[0]


def test_the_proof_takes_parts_and_finds_a_fault() -> None:
    """A real head's cut graph in parts is proven against the whole one; exchanged channels are refused."""
    network = with_choice(open_network(YOLOX / "nano.pth", imgsz=(64, 96)), InputChoice(preset="yolox"))
    whole, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    parts = with_depthwise_parts(whole, 3)
    assert len(parts.graph.node) > len(whole.graph.node)
    image = np.ascontiguousarray(np.load(YOLOX / "nano.npz")["input"].transpose(0, 2, 3, 1))
    assert verify_rewrite(whole, parts, spec, [("recorded", image)]) is not None
    join = next(node for node in parts.graph.node if node.name.endswith(".joined"))
    join.input[:] = [*join.input[1:], join.input[0]]
    with pytest.raises(VerificationError, match=r"differs from the trained"):
        verify_rewrite(whole, parts, spec, [("recorded", image)])


def test_the_hint_of_a_failed_build() -> None:
    """Many uneven layers are named with their number and the option; one is not."""
    assert depthwise_hint(graph(UNEVEN)) == ""
    network = open_network(YOLOX / "nano.pth", imgsz=(64, 96))
    uneven = uneven_depthwise(network.simplified)
    assert uneven >= 4
    assert depthwise_hint(network.simplified).startswith(f"{uneven} depthwise convolutions")
    assert "--depthwise-parts 3" in depthwise_hint(network.simplified)


def chained() -> onnx.ModelProto:
    """Two uneven depthwise convolutions, each behind a 1x1 one: the second place reads what the first one joins."""
    rng = np.random.default_rng(2)
    count = len(UNEVEN)
    shapes = {"a": (count, 3, 1, 1), "b": (count, 1, 3, 3), "c": (count, count, 1, 1), "d": (count, 1, 3, 3),
              "e": (2, count, 1, 1)}  # fmt: skip
    constants, nodes, value = [], [], "images"
    for name, shape in shapes.items():
        scale = UNEVEN[:, None, None, None] if shape[1] == 1 else 1.0
        weights = (rng.normal(size=shape) * scale).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"{name}.w"))
        settings: dict[str, Any] = {"group": count, "pads": [1] * 4} if shape[1] == 1 else {}
        nodes.append(helper.make_node("Conv", [value, f"{name}.w"], [name], name=name, **settings))
        value = name
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 8, 8))
    output = helper.make_tensor_value_info("e", TensorProto.FLOAT, (1, 2, 8, 8))
    made = helper.make_graph(nodes, "chained", [image], [output], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_one_place_behind_another() -> None:
    """The convolution between them reads the joined channels in their new order."""
    model = chained()
    changed = with_depthwise_parts(model, 3)
    onnx.checker.check_model(changed, full_check=True)
    image = {"images": np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    expected, got = (Session(m).run(image)["e"] for m in (model, changed))
    assert np.abs(expected - got).max() <= 1e-5 * np.abs(expected).max()
    groups = [a.i for n in changed.graph.node for a in n.attribute if a.name == "group"]
    assert (len(groups), sum(groups)) == (6, 2 * len(UNEVEN))
