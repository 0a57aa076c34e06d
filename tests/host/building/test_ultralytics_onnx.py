"""ONNX files as the ultralytics exporter writes them: opened, cut, proven, and read as the checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.record import Verification
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data" / "ultralytics"
FILES = sorted((DATA / "onnx").glob("*.onnx"))


def prove(network: Network) -> Verification:
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    noise = np.random.default_rng(3).integers(0, 256, (1, *network.input_hw, 3), np.uint8)
    return verify(network.reference, network.reference_head, graph, network.contract(outputs), [("noise", noise)])


def size_of(file: Path) -> tuple[int, int] | None:
    """The size to fix, for files that leave it free."""
    dims = onnx.load(file).graph.input[0].type.tensor_type.shape.dim
    return None if all(d.dim_value for d in dims[2:]) else (64, 96)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_proven(file: Path) -> None:
    """The graph's own decode equals the contract's decode of its cut graph."""
    network = open_network(file, imgsz=size_of(file))
    assert prove(network).rows > 0
    metadata = {p.key: p.value for p in onnx.load(file).metadata_props}
    assert network.task == metadata["task"]
    assert network.family == ("onnx" if network.task == "classify" else "ultralytics")
    if "kpt_shape" in metadata:
        count, dimensions = json.loads(metadata["kpt_shape"])
        assert network.head.keypoints is not None
        assert (network.head.keypoints.count, network.head.keypoints.scored) == (count, dimensions == 3)


@pytest.mark.parametrize("file", [f for f in FILES if "end2end" in f.stem], ids=lambda f: f.stem)
def test_end_to_end(file: Path) -> None:
    """A head behind which the graph takes its best rows needs no suppression, and is known as such."""
    assert open_network(file).head.end_to_end


@pytest.mark.parametrize("file", [f for f in FILES if "end2end" not in f.stem], ids=lambda f: f.stem)
def test_with_suppression(file: Path) -> None:
    """A head whose rows the graph gives as they are needs suppression."""
    assert not open_network(file, imgsz=size_of(file)).head.end_to_end
