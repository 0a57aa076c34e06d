"""Heads that are recognized by their own decode: boxes and scores in two tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.contract.spec import InputSpec, ModelSpec
from rkdeploy.errors import GraphError, VerificationError
from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.building.presets import PresetName, fitting, with_preset
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.decoded_cells import find_decoded_cells
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.verify import verify
from rkdeploy.host.graph.whole_bins import with_whole_bins
from tests.host.graph.cell_graphs import CLASSES, CellGraph, suppressed

IMAGE = InputSpec("images", 64, 96)
NOISE = [("noise", np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8))]

FORMS: dict[str, tuple[CellGraph, str, PointFormula]] = {
    "ppyoloe": (CellGraph(transposed=True), "dfl17", PointFormula(0.5)),
    "damo-yolo": (CellGraph(offset=0.0, spare=1), "dfl17", PointFormula(0.0)),
    "picodet": (CellGraph(8, objectness="root"), "picodet", PointFormula(0.5, "root")),
    "first picodet": (CellGraph(8), "nanodet", PointFormula(0.5)),
    "rtmdet": (CellGraph(1, offset=0.0), "rtmdet", PointFormula(0.0)),
    "rtmdet by stride": (CellGraph(1, offset=0.0, distance="pixels"), "rtmdet", PointFormula(0.0, distance="pixels")),
    "rtmdet-exp": (CellGraph(1, offset=0.0, distance="exp"), "rtmdet", PointFormula(0.0, distance="exp")),
    "fcos": (CellGraph(1, distance="relu", objectness="product"), "", PointFormula(0.5, distance="relu")),
    "coarse first": (CellGraph(order=(32, 8, 16)), "dfl17", PointFormula(0.5)),
}


def head_of(form: CellGraph) -> tuple[onnx.ModelProto, Head]:
    return find_supported_head(simplify(form.model()), None)


def contract(model: onnx.ModelProto, head: Head) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph and its contract."""
    graph, outputs = cut(model, head, CutOptions())
    names = tuple(f"class_{i}" for i in range(head.classes))
    return graph, ModelSpec("ppyoloe", "detect", names, IMAGE, outputs, points=head.points)


@pytest.mark.parametrize(("form", "kind", "points"), FORMS.values(), ids=FORMS)
def test_form(form: CellGraph, kind: str, points: PointFormula) -> None:
    """The formula is found, and proven; the middle of the cell instead of its corner, or the reverse, is refused."""
    model, head = head_of(form)
    assert (head.kind, head.points, head.classes) == (kind, points, CLASSES)
    assert [tap.stride for tap in head.taps if tap.role == "scores"] == [8, 16, 32]
    graph, spec = contract(model, head)
    assert verify(model, head, graph, spec, NOISE).decode_proven
    wrong = replace(points, offset=0.5 - points.offset)
    with pytest.raises(VerificationError, match="box centers differ by"):
        verify(model, head, graph, replace(spec, points=wrong), NOISE)


def test_other_formulas_are_none() -> None:
    """Boxes that no formula gives, and a convolution that is neither box nor score, are not read as this."""
    third, boxes, scores = CellGraph(offset=0.25).graph()
    assert find_decoded_cells(GraphView(simplify(third.show(boxes, scores).model())), [boxes, scores]) is None
    graph, boxes, scores = CellGraph().graph()
    points = graph.node("Concat", *(graph.rows(graph.conv(stride, 10), 10) for stride in (8, 16, 32)), axis=1)
    shown = simplify(graph.show(boxes, scores, points).model())
    assert find_decoded_cells(GraphView(shown), [boxes, scores, points]) is None


def test_yolov8_is_left_to_its_probe() -> None:
    """Centers and sizes are YOLOv8's: no kind that a preset would be asked for."""
    _, head = head_of(CellGraph(16, corners=False))
    assert head.kind == ""


def test_scale_input_and_suppression_are_left_out(tmp_path: Path) -> None:
    """Suppression behind the tables, and the input that only it needs, do not matter."""
    file = tmp_path / "picodet.onnx"
    onnx.save(suppressed(CellGraph(8, objectness="root", transposed=True)), str(file))
    opened = open_graph(file, None, None, 0)
    assert opened.head.kind == "picodet"
    assert [info.name for info in opened.reference.graph.input] == ["images"]
    assert opened.head.rows is not None
    assert {table.output for table in opened.head.rows.tables} <= {o.name for o in opened.reference.graph.output}


def test_bins_are_made_whole() -> None:
    """Bins that an exporter stored inexactly become whole numbers, and a head of them is found."""
    model = CellGraph(8).model()
    bins = next(c for c in model.graph.initializer if list(c.dims) == [8])
    inexact = np.array([0, 1, 2, 3 + 3e-4, 4, 5, 6 + 6e-4, 7], np.float32)
    bins.CopyFrom(numpy_helper.from_array(inexact, bins.name))
    whole, error = with_whole_bins(model)
    assert error == pytest.approx(6e-4, rel=1e-3)
    assert find_supported_head(simplify(whole), None)[1].kind == "nanodet"
    assert with_whole_bins(whole) == (whole, 0.0)


PRESETS_OF: dict[str, tuple[CellGraph, tuple[PresetName, ...]]] = {
    "middle": (CellGraph(), ("ppyoloe", "ppyoloe-plus", "yolo-nas")),
    "corner": (CellGraph(offset=0.0), ("damo-yolo",)),
    "exp": (CellGraph(1, offset=0.0, distance="exp"), ("rtmdet-exp",)),
    "eight bins, corner": (CellGraph(8, offset=0.0), ("nanodet-plus",)),
    "root": (CellGraph(8, objectness="root"), ("picodet",)),
}


@pytest.mark.parametrize(("form", "names"), PRESETS_OF.values(), ids=PRESETS_OF)
def test_presets_that_the_decode_allows(form: CellGraph, names: tuple[PresetName, ...]) -> None:
    """Of the presets of a kind those fit that agree with the graph's decode; the error names them."""
    _, head = head_of(form)
    assert fitting(head) == names
    with pytest.raises(GraphError, match=f"--preset {names[0]} "):
        with_preset(IMAGE, head, None)


def test_preset_against_the_decode() -> None:
    """A preset of the right kind that the graph refutes is refused, with the reason."""
    _, head = head_of(CellGraph())
    with pytest.raises(GraphError, match=r"decodes boxes from the cells' middle, not their corner"):
        with_preset(IMAGE, head, "damo-yolo")
    _, head = head_of(CellGraph(1, offset=0.0))
    with pytest.raises(GraphError, match=r'decodes "linear" distances, not "exp" ones'):
        with_preset(IMAGE, head, "rtmdet-exp")
