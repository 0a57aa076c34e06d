"""ONNX files exported with half=True: float16 throughout, the casts at its borders appended behind everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.transformers.float16 import convert_float_to_float16

from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data"
FILES = [
    DATA / "onnx" / "v6.onnx",
    DATA / "ultralytics" / "onnx" / "v8.onnx",
    DATA / "ultralytics" / "onnx" / "v8_obb.onnx",
    DATA / "ultralytics" / "onnx" / "v10_end2end.onnx",
]


@pytest.mark.parametrize("keep_io_types", [True, False])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_half_export_builds(path: Path, keep_io_types: bool, tmp_path: Path) -> None:
    """The converter's output, which onnx's checker refuses, has the head of the float32 file and proves its decode.

    Raw tensors agree to float16's eleven bits, which grow with the depth of the network: 2 % of their spread.
    """
    half = tmp_path / "best.onnx"
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=keep_io_types), half)
    if keep_io_types:
        with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
            onnx.checker.check_model(onnx.load(half))
    network, whole = open_network(half), open_network(path)
    assert [(t.role, t.shape, t.stride) for t in network.head.taps] == [
        (t.role, t.shape, t.stride) for t in whole.head.taps
    ]
    assert network.class_names == whole.class_names
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    assert verify_contract(network, graph, network.contract(outputs), ()).rows
    other, _ = cut(whole.simplified, whole.head, CutOptions())
    x = np.random.default_rng(0).random((1, 3, *network.input_hw), np.float32)
    got, expected = Session(graph).run({network.input.name: x}), Session(other).run({whole.input.name: x})
    for name, values in expected.items():
        assert np.abs(got[name] - values).max() < 0.02 * np.ptp(values)
