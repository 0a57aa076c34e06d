"""Networks of gray images: the same values on a gray image, with the conversion folded into the first convolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.gray_input import fold_gray, is_made_gray, takes_gray, with_color_input
from rkdeploy.host.graph.session import Session
from tests.hostile import forge

ONNX = Path(__file__).parents[2] / "data" / "onnx"


def gray_of(color: onnx.ModelProto) -> onnx.ModelProto:
    """The network that gives for a gray image what `color` gives for the image repeated three times."""
    gray = onnx.ModelProto()
    gray.CopyFrom(color)
    gray.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    first = next(node for node in gray.graph.node if gray.graph.input[0].name in node.input)
    weight = next(constant for constant in gray.graph.initializer if constant.name == first.input[1])
    summed = numpy_helper.to_array(weight).sum(axis=1, keepdims=True)
    weight.CopyFrom(numpy_helper.from_array(summed, weight.name))
    return gray


def images(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One gray image of noise, (1, 1, H, W), and the same in three channels."""
    gray = np.random.default_rng(0).random((1, 1, height, width), np.float32)
    return gray, np.repeat(gray, 3, axis=1)


def image_hw(model: onnx.ModelProto) -> tuple[int, int]:
    """Height and width of a graph's input."""
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[2:])
    return height, width


def test_values_on_gray_images() -> None:
    """A gray network with a color input gives what it gave; folded it has no node more, and the same values."""
    model = gray_of(onnx.load(ONNX / "v6.onnx"))
    assert takes_gray(model)
    colored = with_color_input(model)
    assert (takes_gray(colored), is_made_gray(colored)) == (False, True)
    folded = fold_gray(colored)
    assert len(folded.graph.node) == len(model.graph.node)
    assert not is_made_gray(folded)
    gray, color = images(*image_hw(model))
    name, output = model.graph.input[0].name, model.graph.output[0].name
    expected = Session(model).run({name: gray})[output]
    for graph in (colored, folded):
        found = Session(graph).run({name: color})[output]
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_color_is_weighed() -> None:
    """A colored pixel counts with 0.299, 0.587 and 0.114 of its channels."""
    model = gray_of(onnx.load(ONNX / "v6.onnx"))
    name, output = model.graph.input[0].name, model.graph.output[0].name
    color = np.random.default_rng(1).random((1, 3, *image_hw(model)), np.float32)
    gray = (0.299 * color[:, :1] + 0.587 * color[:, 1:2] + 0.114 * color[:, 2:]).astype(np.float32)
    expected = Session(model).run({name: gray})[output]
    found = Session(fold_gray(with_color_input(model))).run({name: color})[output]
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_other_graphs_stay() -> None:
    """A color network is not touched; a name of ours that is taken is an error."""
    model = onnx.load(ONNX / "v6.onnx")
    assert with_color_input(model) is model
    assert fold_gray(model) is model
    taken = gray_of(model)
    taken.graph.node[0].name = "gray/Conv"
    with pytest.raises(GraphError, match="already has"):
        with_color_input(taken)


@pytest.mark.parametrize("from_checkpoint", [True, False])
def test_opened_and_proven(from_checkpoint: bool, tmp_path: Path) -> None:
    """A gray checkpoint and a gray ONNX file are cut and proven like any other, with a note."""
    if from_checkpoint:
        forgery = forge.Forgery()
        weight = forge.find_tensor(forgery.layer("0.conv").state["_parameters"]["weight"])
        outputs, _, height, width = weight.arguments[2]
        forge.replace_arguments(weight, size=(outputs, 1, height, width), stride=(height * width, 0, width, 1))
        file = forgery.write(tmp_path / "gray.pt")
        network = open_network(file, imgsz=(64, 96))
    else:
        file = tmp_path / "gray.onnx"
        onnx.save(gray_of(onnx.load(ONNX / "v6.onnx")), file)
        network = open_network(file)
    assert any("takes gray images" in note for note in network.notes)
    assert network.input.mean == (0.0, 0.0, 0.0)
    graph, outputs_ = cut(network.simplified, network.head, CutOptions())
    assert not is_made_gray(graph)
    assert [d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim][:2] == [1, 3]
    assert verify_contract(network, graph, network.contract(outputs_), ()).decode_proven


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (InputChoice(color="bgr"), "--color is bgr"),
        (InputChoice(mean=(1.0, 2.0, 3.0)), "--mean is .* the same number three times"),
        (InputChoice(std=(1.0, 2.0, 3.0)), "--std is"),
    ],
)
def test_choices_of_color(choice: InputChoice, message: str, tmp_path: Path) -> None:
    """Properties that only a color image has cannot be set for a gray one."""
    file = tmp_path / "gray.onnx"
    onnx.save(gray_of(onnx.load(ONNX / "v6.onnx")), file)
    network = open_network(file)
    with pytest.raises(RkdeployError, match=message):
        with_choice(network, choice)
    assert with_choice(network, InputChoice(mean=(5.0, 5.0, 5.0))).input.mean == (5.0, 5.0, 5.0)
