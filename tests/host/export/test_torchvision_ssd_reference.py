"""SSDLite's graphs against what torchvision computed (tests/data/torchvision_ssd)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import CheckpointError, GraphError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.checkpoint.module_tree import Module
from rkdeploy.host.export.ssdlite_network import numbered_steps
from rkdeploy.host.families import torchvision_ssd
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import read_rows
from rkdeploy.host.graph.selected_priors import find_selected_priors
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import network_input, verify
from tests.host.graph.kind_graphs import KindGraph

DATA = Path(__file__).parents[2] / "data" / "torchvision_ssd"


@pytest.mark.parametrize(("case", "classes"), [("lite", 3), ("lite_one_class", 1)])
def test_upstream_graph_and_contract(case: str, classes: int) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of torchvision, and a proven contract."""
    recorded = np.load(DATA / f"{case}.npz")
    checkpoint = read_checkpoint(DATA / f"{case}.pth")
    assert family_of(checkpoint) is torchvision_ssd
    assert len(torchvision_ssd.describe(checkpoint).class_names) == classes
    network = open_network(DATA / f"{case}.pth", imgsz=recorded["input"].shape[2:])
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    image = np.ascontiguousarray(recorded["input"].transpose(0, 2, 3, 1))
    rows = Session(network.trained).run({"images": network_input(image, spec)})["output0"][0][recorded["rows"]]
    np.testing.assert_allclose(rows[:, :4], recorded["pred"][:, :4], atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(rows[:, 4:], recorded["pred"][:, 4:], atol=1e-5)
    assert verify(network.trained, network.reference_head, graph, spec, [("recorded", image)]).decode_proven
    assert spec.anchors is not None
    # 0.2 and 0.95 of the image, and of its longer side no more than the whole (anchor_utils.py, `_generate_wh_pairs`)
    assert spec.anchors.levels_px[0][0] == pytest.approx((0.2 * 288, 0.2 * 272))
    assert spec.anchors.levels_px[5][2] == pytest.approx((288.0, 0.95 / 2**0.5 * 272))


def test_the_usual_size() -> None:
    network = open_network(DATA / "lite.pth", imgsz=None)
    assert network.input_hw == (320, 320)
    assert [tap.shape[2] for tap in network.head.taps if tap.role == "prior_boxes"] == [20, 10, 5, 3, 2, 1]


def test_a_wrong_number_of_channels() -> None:
    """Scores that are not those of six anchors."""
    checkpoint = read_checkpoint(DATA / "lite.pth")
    head = checkpoint.root.child("head")
    lists = head.child("classification_head").child("module_list")
    boxes = head.child("regression_head").child("module_list").child("0").child("0")
    first = replace(lists.child("0"), children={**lists.child("0").children, "1": boxes.child("0")})
    altered = replace(
        head.child("classification_head"),
        children={"module_list": replace(lists, children={**lists.children, "0": first})},
    )
    root = replace(
        checkpoint.root,
        children={
            **checkpoint.root.children,
            "head": replace(head, children={**head.children, "classification_head": altered}),
        },
    )
    with pytest.raises(CheckpointError, match="expected 6 anchors of 2 or more"):
        torchvision_ssd.describe(replace(checkpoint, root=root))


def test_parts_are_read_by_their_numbers() -> None:
    checkpoint = read_checkpoint(DATA / "lite.pth")
    features: Module = checkpoint.root.child("backbone").child("features").child("0")
    shuffled = replace(features, children=dict(reversed(list(features.children.items()))))
    assert [part.path for part in numbered_steps(shuffled)] == [part.path for part in numbered_steps(features)]
    with pytest.raises(GraphError, match="expected numbers"):
        numbered_steps(checkpoint.root)


def test_whole_export() -> None:
    """The export of the whole detector is cut before its selection, with the anchors of the state dict."""
    recorded = np.load(DATA / "lite.npz")
    of_weights = open_network(DATA / "lite.pth", imgsz=recorded["input"].shape[2:])
    network = with_choice(open_network(DATA / "lite.onnx"), InputChoice(preset="torchvision-ssd"))
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    assert spec.input.std == (255.0, 255.0, 255.0)  # the graph normalizes its images
    assert network.head.anchors is not None
    assert of_weights.head.anchors is not None
    ours, theirs = (np.concatenate(n.head.anchors.levels_px) for n in (network, of_weights) if n.head.anchors)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    image = np.ascontiguousarray(recorded["input"].transpose(0, 2, 3, 1))
    assert verify(network.reference, network.reference_head, graph, spec, [("recorded", image)]).decode_proven
    assert network.head.rows is not None
    values = Session(network.reference).run({network.input.name: network_input(image, spec)})
    found = {field.name: field.values for field in read_rows(network.head.rows, values)}
    rows = recorded["rows"]
    np.testing.assert_allclose((found["xy"] - found["wh"] / 2)[rows], recorded["pred"][:, :2], atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(found["scores"][rows], recorded["pred"][:, 4:], atol=1e-5)


def test_a_selection_without_priors() -> None:
    """A selection behind something else than last convolutions."""
    graph = KindGraph()
    shares = graph.node("Softmax", graph.of_shape((1, 80, 3)), axis=2)
    boxes = graph.of_shape((1, 80, 4))
    graph.node("NonZero", shares)
    assert find_selected_priors(GraphView(graph.show(boxes, shares).model())) is None
