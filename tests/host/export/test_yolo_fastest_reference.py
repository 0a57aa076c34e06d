"""Graphs of Yolo-FastestV2 and FastestDet against what upstream's own code computed (tests/data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import fastestdet, yolo_fastest
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify

DATA = Path(__file__).parents[2] / "data" / "yolo_fastestv2"
FAMILIES = {"yolo_fastestv2": yolo_fastest, "fastestdet": fastestdet}
CASES = {"classes": 3, "one_class": 1}
OTHER_ANCHORS = (8.0, 9.0, 10.0, 13.0, 16.0, 30.0, 33.0, 23.0, 30.0, 61.0, 62.0, 45.0)


@pytest.mark.parametrize("folder", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_upstream_graph_and_contract(case: str, folder: str) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of upstream torch, in the full graph and on the board's side."""
    file = DATA.parent / folder / f"{case}.pth"
    recorded = np.load(file.with_suffix(".npz"))
    checkpoint = read_checkpoint(file)
    assert family_of(checkpoint) is FAMILIES[folder]
    assert len(FAMILIES[folder].describe(checkpoint).class_names) == CASES[case]
    network = open_network(file, imgsz=recorded["input"].shape[2:])
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
    np.testing.assert_allclose(found["xy"], recorded["pred"][:, :2], atol=2e-3)
    np.testing.assert_allclose(found["scores"], recorded["pred"][:, 5:], atol=1e-5)
    assert (spec.input.color, spec.input.fit) == ("bgr", "stretch")


def test_anchors_are_assumed_or_given() -> None:
    """COCO's of the repository with a note, or the user's without; 352x352 without --imgsz."""
    network = open_network(DATA / "classes.pth")
    assert network.input_hw == (352, 352)
    assert any("--anchors" in note for note in network.notes)
    given = open_network(DATA / "classes.pth", anchors=OTHER_ANCHORS)
    assert given.anchors is not None
    assert given.anchors.levels_px[0] == ((8.0, 9.0), (10.0, 13.0), (16.0, 30.0))
    assert given.anchors_from == "command line"
    assert not any("--anchors" in note for note in given.notes)
    with pytest.raises(RkdeployError, match="expected 6"):
        open_network(DATA / "classes.pth", anchors=OTHER_ANCHORS[:8])
    with pytest.raises(RkdeployError, match="has its own anchors"):
        open_network(DATA.parent / "ultraface" / "slim.pth", anchors=OTHER_ANCHORS)
