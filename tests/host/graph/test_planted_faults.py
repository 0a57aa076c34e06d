"""The proof of the proof: every kind of fault, planted alone, is refused; without one every network passes.

`tests/benchmarks/planted_faults.py` does the same with a folder of real files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rkdeploy.errors import RkdeployError, VerificationError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.verification import verify_contract
from rkdeploy.host.export.stem_form import StemForm
from tests.host.graph.planted import FAULTS, Case, planted

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
HW = (64, 96)

EVERY_HEAD = {"two classes swapped", "a weight that is NaN", "a BatchNorm folded 1 % wrong"}
ROWS = EVERY_HEAD | {"strides doubled", "two columns swapped", "sigmoid missing"}
LEVELS = ROWS | {"levels in another order"}
ANCHORS = LEVELS | {"one anchor 1 % off", "two anchors swapped"}
MASKS = {"two mask coefficients swapped", "two prototypes swapped"}
STEM = {
    "one rewritten channel 1 % off", "one rewritten bias 1 % off", "one rewritten channel's taps shifted",
    "rewritten layer padded one pixel off", "two pixel phases swapped",
}  # fmt: skip
KINDS = {
    ROOT / "calib_data" / "best.pt": ANCHORS | STEM,
    DATA / "yolov5" / "v5_s_focus_spp.pt": ANCHORS | STEM,
    DATA / "yolov5" / "seg.pt": ANCHORS | STEM | MASKS,
    DATA / "ultralytics" / "v8.pt": LEVELS,
    DATA / "ultralytics" / "v8_pose_2x3.pt": LEVELS | {"keypoint formula"},
    DATA / "ultralytics" / "v11_obb.pt": ROWS | {"angle formula"},
    DATA / "ultralytics" / "v26_seg.pt": LEVELS | MASKS,
    DATA / "ultralytics" / "v11_cls.pt": EVERY_HEAD,
    DATA / "yolop" / "end_to_end.pth": ANCHORS | STEM,
    DATA / "rtdetr" / "hgnet.pt": ROWS,
    DATA / "onnx" / "v7_opset11.onnx": ANCHORS,
    DATA / "cells" / "nanodet_plus.onnx": ROWS,
}
"""One of each kind of head, and what can be wrong with it; the last ends in raw tensors, without a decode."""


@pytest.mark.parametrize("file", KINDS, ids=lambda f: f.stem)
def test_every_planted_fault_is_refused(file: Path) -> None:
    """All faults that a network can have are planted, each is refused, and without one it is proven."""
    case = Case.of(open_network(file, imgsz=None if file.suffix == ".onnx" else HW))
    assert verify_contract(case.network, case.graph, case.spec, ()).images == 1
    refused = set()
    for name, faulty in planted(case):
        with pytest.raises(RkdeployError):
            pytest.fail(f"passed: {name}: {verify_contract(faulty.network, faulty.graph, faulty.spec, ())}")
        refused.add(name)
    assert refused == KINDS[file]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("one anchor 1 % off", r"box sizes differ by .* px \(anchors or distances\), allowed is"),
        ("levels in another order", r"box centers differ .*\(strides or order\)"),
        ("two classes swapped", r"correctly: scores differ by .* \(activation or order\)"),
        ("sigmoid missing", r"scores differ by .* \(activation or order\)"),
        ("one rewritten channel 1 % off", r"rewritten graph differs from the trained by up to .* in channel \d+ of "),
        ("a weight that is NaN", r'The cut graph gives NaN or infinity in "\w+" on "seeded noise'),
    ],
)
def test_the_message_names_the_fault(fault: str, message: str) -> None:
    """A refusal says what differs and what is likely wrong."""
    faulty = FAULTS[fault](Case.of(open_network(DATA / "yolov5" / "v7_n.pt", imgsz=HW)))
    assert faulty is not None
    with pytest.raises(RkdeployError, match=message):
        verify_contract(faulty.network, faulty.graph, faulty.spec, ())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("two columns swapped", r"does not give what the graph gives at its head: box centers differ by .* px"),
        ("a weight that is NaN", r'The cut graph gives NaN or infinity in "scores" on "seeded noise'),
    ],
)
def test_the_message_for_raw_heads(fault: str, message: str) -> None:
    """Without a decode the cut graph is compared with the graph's own tensors, and the refusal says so."""
    faulty = FAULTS[fault](Case.of(open_network(DATA / "cells" / "nanodet_plus.onnx")))
    assert faulty is not None
    with pytest.raises(VerificationError, match=message):
        verify_contract(faulty.network, faulty.graph, faulty.spec, ())


def test_raw_graph_with_nan(tmp_path: Path) -> None:
    """NaN in the weights of the file itself, so that both graphs give it, is refused too."""
    graph = onnx.load(DATA / "cells" / "nanodet_plus.onnx")
    weight = next(c for c in graph.graph.initializer if len(c.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(graph, tmp_path / "nan.onnx")
    case = Case.of(open_network(tmp_path / "nan.onnx"))
    with pytest.raises(VerificationError, match=r"The graph gives NaN or infinity in its output"):
        verify_contract(case.network, case.graph, case.spec, ())


@pytest.mark.parametrize("form", ["slices", "stripes"])
def test_every_form_of_the_first_layer(form: StemForm) -> None:
    """Faults in the first layer are refused in every form it is rewritten to."""
    case = Case.of(open_network(DATA / "yolov5" / "v7_n.pt", imgsz=HW, stem=form))
    assert verify_contract(case.network, case.graph, case.spec, ()).rewrite_error is not None
    # Slices have no weights to swap; of stripes only the first has a border above, and none has one below.
    absent = {"slices": "two pixel phases swapped", "stripes": "rewritten layer padded one pixel off"}[form]
    for name in STEM - {absent}:
        faulty = FAULTS[name](case)
        assert faulty is not None
        with pytest.raises(RkdeployError, match="rewritten graph differs"):
            verify_contract(faulty.network, faulty.graph, faulty.spec, ())
