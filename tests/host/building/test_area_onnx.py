"""Areas of text from ONNX files: the head of PaddleOCR's detectors, and the board's decode of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import GraphError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.presets import PresetName
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify

DATA = Path(__file__).parents[2] / "data" / "areas"


def opened(case: str, preset: PresetName | None = "ppocr-det") -> Network:
    imgsz = (64, 96) if case == "db_head" else None
    return with_choice(open_network(DATA / f"{case}.onnx", imgsz=imgsz), InputChoice(preset=preset))


@pytest.mark.parametrize("case", ["db_head", "db_mean", "db_training"])
def test_the_map_is_the_graphs(case: str) -> None:
    """The cut graph's probabilities are the file's own first plane, and images are prepared as PaddleOCR does."""
    network = opened(case)
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    contract = network.contract(outputs)
    assert (contract.task, contract.class_names) == ("text_areas", ("text",))
    assert contract.areas is not None
    assert [(o.role, o.activation, o.shape) for o in outputs] == [("area_map", "sigmoid", (1, 1, 64, 96))]
    image = contract.input
    assert (image.color, image.fit, image.place, image.pad_value) == ("bgr", "letterbox", "top_left", 0)
    assert image.mean[0] > image.mean[2]  # in the order of RGB, read as BGR
    assert not network.notes
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    proof = verify(network.reference, network.reference_head, graph, contract, [("noise", pixels)])
    assert all(field.excess <= 1 for field in proof.fields)
    value = network_input(pixels, contract)
    theirs = Session(network.trained).run({"x": value})["maps"]
    ours = Session(graph).run({"x": value})[outputs[0].name]
    np.testing.assert_allclose(ours, theirs[:, :1], atol=1e-6)


def test_without_a_preset_the_error_names_it() -> None:
    """A sigmoid at each pixel may be a mask as well."""
    with pytest.raises(GraphError, match="a mask or areas of text") as caught:
        opened("db_head", None)
    assert "--preset ppocr-det" in caught.value.hint
    assert opened("db_head", "mask").task == "semantic"
    with pytest.raises(GraphError, match="three maps of a DB head") as caught:
        opened("db_training", None)
    assert "--preset mask" not in caught.value.hint
    with pytest.raises(GraphError, match="--preset mask does not fit"):
        opened("db_training", "mask")
