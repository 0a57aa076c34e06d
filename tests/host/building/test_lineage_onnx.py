"""ONNX files that YOLOv7's and YOLOv9's exporters wrote, against what their code computed from the checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data"
CASES = (
    ("yolov7/end2end_trt", "yolov7/tiny_training", "suppression (EfficientNMS_TRT) is left out"),
    ("yolov7/end2end_ort", "yolov7/tiny_training", "suppression (NonMaxSuppression) is left out"),
    ("yolov9/dual", "yolov9/reversible_auxiliary", "2 heads alike"),
)


@pytest.mark.parametrize(("file", "case", "note"), CASES, ids=[file for file, _, _ in CASES])
def test_equals_the_plain_decode(file: str, case: str, note: str) -> None:
    """Its table is upstream's decode of the lead head and proves the contract; a note says what was left out."""
    with np.load(DATA / f"{case}.npz") as recorded:
        image, expected = recorded["input"], recorded["pred"]
        rows = recorded["rows"] if "rows" in recorded else slice(None)
    network = open_network(DATA / f"{file}.onnx")
    assert network.reference_head.rows is not None
    assert not network.head.end_to_end
    outputs = Session(network.reference).run({network.input.name: image.astype(np.float32) / 255})
    table = outputs[network.reference_head.rows.output][0]
    table = table[:, rows] if network.reference_head.rows.columns_first else table[rows]
    assert np.abs(table - expected).max() < 1e-3
    graph, ends = cut(network.simplified, network.head, CutOptions())
    pixels = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    proof = verify(network.reference, network.reference_head, graph, network.contract(ends), [("recorded", pixels)])
    assert max(error.excess for error in proof.fields) < 1
    assert any(note in each for each in network.notes)


def test_an_auxiliary_head_leaves_nothing_behind() -> None:
    """Layers that only the other head needs are not in the graph."""
    network = open_network(DATA / "yolov9" / "dual.onnx", DATA / "yolov9" / "reversible_auxiliary.pt")
    assert network.family == "yolov9"
    layers = {node.name.split("/")[1].split(".")[1] for node in network.simplified.graph.node if "/model." in node.name}
    assert "10" not in layers
    assert {"13", "14", "15"} <= layers
