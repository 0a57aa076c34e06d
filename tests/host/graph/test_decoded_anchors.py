"""Anchor heads whose graph decodes boxes and scores in two tables: pytorch-YOLOv4's own export, and its variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.decoded_anchors import find_decoded_anchors
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.verify import verify
from tests.host.graph.kind_graphs import KindGraph

RECORD = Path(__file__).parents[2] / "data" / "onnx" / "pytorch_yolov4.onnx"
STRIDES = (8, 16, 32)
ANCHORS = (((10, 13), (16, 30)), ((30, 61), (62, 45)), ((59, 119), (116, 90)))
CLASSES = 3


def test_export_of_pytorch_yolov4() -> None:
    """The file gives what upstream computed, its anchors and formula are read out of it, and its decode is proven."""
    recorded = np.load(RECORD.with_suffix(".npz"))
    network = open_network(RECORD)
    head, image = network.head, np.random.default_rng(0).random((1, 3, *network.input_hw), np.float32)
    shown = Session(network.trained).run({network.input.name: image})
    assert np.abs((shown["boxes"] - recorded["boxes"]) * (96, 64, 96, 64)).max() < 1e-3
    assert np.abs(shown["confs"] - recorded["confs"]).max() < 1e-5
    assert head.anchor_formula == AnchorFormula((1.05,), "exp")
    assert head.anchors is not None
    assert head.anchors.levels_px[-1] == ((41.0, 82.0), (75.0, 99.0), (124.0, 109.0))  # of the cfg
    assert (network.family, network.input.fit, head.classes) == ("darknet", "stretch", 3)
    assert any("stretched" in note for note in network.notes)
    graph, outputs = cut(network.simplified, head, CutOptions())
    assert {output.role for output in outputs} == {"anchor_xy", "anchor_wh", "anchor_scores"}
    noise = np.random.default_rng(1).integers(0, 256, (1, *network.input_hw, 3), np.uint8)
    proof = verify(network.trained, network.reference_head, graph, network.contract(outputs), [("noise", noise)])
    assert proof.decode_proven
    assert max(error.excess for error in proof.fields) < 1


def decoded(
    *, gain: float = 2.0, exponents: bool = False, corners: bool = False, fractions: bool = False,
    scores_first: bool = False, factor: float = 1.0, coarse_first: bool = False,
) -> KindGraph:  # fmt: skip
    """Boxes and scores of all anchors in two tables.

    Args:
        gain: of the centers.
        exponents: whether sizes are exp(raw) instead of (2 s)^2 times the anchor.
        corners: boxes as corners, otherwise center and size.
        fractions: boxes as fractions of the image.
        scores_first: scores (1, classes, rows).
        factor: of the widths, as no formula has it.
        coarse_first: the coarsest level has the first rows.
    """
    graph = KindGraph((64, 96))
    fields = 5 + CLASSES
    boxes, scores = [], []
    levels = list(zip(STRIDES, ANCHORS, strict=True))

    def constant(values: Any) -> str:
        return graph.constant(np.asarray(values, np.float32))

    def part(rows: str, low: int, high: int) -> str:
        return graph.node("Slice", rows, *(graph.constant(np.array([v])) for v in (low, high, 2)))

    for stride, anchors in levels[::-1] if coarse_first else levels:
        rows = graph.rows(graph.conv(stride, 2 * fields), fields)
        height, width = 64 // stride, 96 // stride
        y, x = np.indices((height, width)).reshape(2, -1)
        cells = np.tile(np.stack((x, y), axis=1), (2, 1))
        moved = graph.node("Mul", graph.node("Sigmoid", part(rows, 0, 2)), constant(gain))
        center = graph.node("Add", moved, constant(cells[None] - (gain - 1) / 2))
        center = graph.node("Mul", center, constant(stride))
        size = part(rows, 2, 4)
        if exponents:
            size = graph.node("Exp", size)
        else:
            size = graph.node("Pow", graph.node("Mul", graph.node("Sigmoid", size), constant(2)), constant(2))
        sides = np.repeat(np.array(anchors), height * width, axis=0)[None] * (factor, 1.0)
        size = graph.node("Mul", size, constant(sides))
        if corners:
            half = graph.node("Mul", size, constant(0.5))
            center, size = graph.node("Sub", center, half), graph.node("Add", center, half)
        boxes.append(graph.node("Concat", center, size, axis=2))
        both = graph.node("Sigmoid", part(rows, 4, fields))
        scores.append(graph.node("Mul", part(both, 0, 1), part(both, 1, 1 + CLASSES)))
    box, score = graph.node("Concat", *boxes, axis=1), graph.node("Concat", *scores, axis=1)
    if fractions:
        box = graph.node("Div", box, constant((96, 64, 96, 64)))
    if scores_first:
        score = graph.node("Transpose", score, perm=[0, 2, 1])
    return graph.show(box, score)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"corners": True, "fractions": True},
        {"exponents": True, "gain": 1.1, "corners": True, "fractions": True},
        {"exponents": True, "gain": 1.0, "scores_first": True},
        {"coarse_first": True, "fractions": True},
    ],
    ids=str,
)
def test_forms(form: dict[str, Any]) -> None:
    """Anchors, gains and formula come out as they were put in, and every row is proven."""
    model = simplify(decoded(**form).model())
    headed, head = find_supported_head(model, None)
    assert head.anchors is not None
    assert head.rows is not None
    np.testing.assert_array_equal(np.array(head.anchors.levels_px), np.array(ANCHORS))
    expected = AnchorFormula((form.get("gain", 2.0),), "exp" if form.get("exponents") else "square")
    assert (head.anchor_formula or AnchorFormula()) == expected
    assert head.rows.level_order == ((2, 1, 0) if form.get("coarse_first") else (0, 1, 2))
    assert headed.graph.output


@pytest.mark.parametrize("changed", ["Pow", "Mul"])
def test_other_formulas_are_not_taken(changed: str) -> None:
    """Sizes by no known formula are not read, nor scores that are not the product of both."""
    graph = decoded()
    [node for node in graph.nodes if node.op_type == changed][-1].op_type = "Add"
    model = simplify(graph.model())
    assert find_decoded_anchors(GraphView(model), [info.name for info in graph.outputs]) is None
    with pytest.raises(GraphError):
        find_supported_head(model, None)
