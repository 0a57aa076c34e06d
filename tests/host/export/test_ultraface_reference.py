"""UltraFace's graphs against what Linzaer's own code computed (tests/data/ultraface)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import ultraface
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify

DATA = Path(__file__).parents[2] / "data" / "ultraface"
CASES = {"slim": ("slim", ("face",)), "rfb": ("RFB", ("class_0", "class_1"))}


@pytest.mark.parametrize("case", CASES)
def test_upstream_graph_and_contract(case: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of upstream torch, in the full graph and on the board's side."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pth")
    assert family_of(checkpoint) is ultraface
    info = ultraface.describe(checkpoint)
    assert (info.generation.split(", ")[1], info.class_names) == CASES[case]
    network = open_network(DATA / f"{case}.pth", imgsz=recorded["input"].shape[2:])
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    image = np.ascontiguousarray(recorded["input"].transpose(0, 2, 3, 1))
    inputs = {"images": network_input(image, spec)}
    rows = Session(network.trained).run(inputs)["output0"][0]
    np.testing.assert_allclose(rows[:, :4], recorded["pred"][:, :4], atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(rows[:, 4:], recorded["pred"][:, 4:], atol=1e-5)
    assert verify(network.trained, network.reference_head, graph, spec, [("recorded", image)]).decode_proven
    raw = Session(graph).run(inputs)
    fields = decoder_for(spec).decode_dense([HeadTensor(raw[output.name]) for output in outputs])
    found = {field.name: field.values for field in fields}
    np.testing.assert_allclose(found["xy"] - found["wh"] / 2, recorded["pred"][:, :2], atol=2e-3)
    np.testing.assert_allclose(found["scores"], recorded["pred"][:, 4:], atol=1e-5)


def test_the_usual_size() -> None:
    """320x240 without --imgsz, with a note, though 64 does not divide 240."""
    network = open_network(DATA / "slim.pth", imgsz=None)
    assert network.input_hw == (240, 320)
    assert any("320x240 is assumed" in note for note in network.notes)
