"""The cut graph of a bundle, given as a model: its tensors already have the names that a cut gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize("case", ["yolov5/v7_n", "ultralytics/old_8_0_0", "ultralytics/old_8_0_0_seg"])
def test_cut_twice(case: str, tmp_path: Path) -> None:
    """A second cut is a valid graph with the same outputs and values as the first."""
    own = open_network(DATA / f"{case}.pt", imgsz=(64, 96))
    once, outputs = cut(own.simplified, own.head, CutOptions())
    file = tmp_path / "best-cut.onnx"
    onnx.save(once, file)
    numbers = None
    if own.anchors is not None:
        numbers = tuple(side for level in own.anchors.levels_px for pair in level for side in pair)
    network = open_network(file, anchors=numbers)
    twice, again = cut(network.simplified, network.head, CutOptions())
    onnx.checker.check_model(twice)
    assert [(o.name, o.role, o.shape) for o in again] == [(o.name, o.role, o.shape) for o in outputs]
    pixels = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    name = once.graph.input[0].name
    expected, found = Session(once).run({name: pixels}), Session(twice).run({name: pixels})
    for output in outputs:
        assert np.abs(found[output.name] - expected[output.name]).max() < 1e-5
