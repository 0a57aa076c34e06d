"""Graphs of other kinds: each is named by what it is, and never by what the probes would take it for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rkdeploy.errors import GraphError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.raw_outputs import note_of_unproven
from rkdeploy.host.building.supported_head import find_supported_head, require_image_model
from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_facts import facts_of
from rkdeploy.host.graph.graph_kinds import kind_among
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.misread_kinds import MISREAD
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.unread_kinds import UNREAD
from tests.host.graph.kind_graphs import KindGraph, per_level, shapes

DATA = Path(__file__).parents[2] / "data"


def yolov6() -> KindGraph:
    """Boxes, a column of ones and scores of all cells, decoded."""
    graph = KindGraph()
    tables = []
    for stride in (8, 16, 32):
        cells = (64 // stride) ** 2
        boxes, scores = graph.conv(stride, 4), graph.conv(stride, 3)
        ones = graph.constant(np.ones((1, cells, 1), np.float32))
        rows = graph.node("Exp", graph.rows(boxes, 4)), ones, graph.node("Sigmoid", graph.rows(scores, 3))
        tables.append(graph.node("Concat", *rows, axis=2))
    return graph.show(graph.node("Concat", *tables, axis=1))


def built_in_texts() -> KindGraph:
    """Similarity of each cell with constant texts, next to an attention that takes the most similar text."""
    graph = KindGraph()
    tables = []
    for stride in (8, 16, 32):
        boxes, embedded = graph.rows(graph.conv(stride, 4), 4), graph.rows(graph.conv(stride, 16), 16)
        alike = graph.node("MatMul", embedded, graph.constant(np.ones((16, 3), np.float32)))
        gate = graph.node("ReduceMax", graph.node("MatMul", embedded, graph.constant(np.eye(16, 2, dtype=np.float32))),
                          axes=[2], keepdims=1)  # fmt: skip
        scores = graph.node("Mul", graph.node("Sigmoid", alike), graph.node("Sigmoid", gate))
        tables.append(graph.node("Concat", graph.node("Exp", boxes), scores, axis=2))
    return graph.show(graph.node("Concat", *tables, axis=1))


def queries(*wanted: tuple[int, ...]) -> KindGraph:
    """A few hundred rows behind a sampled grid, as transformers' detectors have them."""
    graph = KindGraph()
    grid = graph.constant(np.zeros((1, 2, 2, 2), np.float32))
    sampled = graph.node("ReduceMean", graph.node("GridSample", graph.conv(8, 4), grid), keepdims=0)
    for shape in wanted:
        graph.show(graph.node("Mul", sampled, graph.constant(np.ones(shape, np.float32))))
    return graph


def mediapipe() -> KindGraph:
    """Two and six anchors per cell, each with a score, and a box with six points."""
    graph = KindGraph()
    levels = ((4, 2), (8, 6))
    for width in (16, 1):
        rows = [graph.rows(graph.conv(stride, anchors * width), width) for stride, anchors in levels]
        graph.show(graph.node("Concat", *rows, axis=1))
    return graph


def suppressed() -> KindGraph:
    """A suppression behind boxes that are decoded in a way of its own."""
    graph = KindGraph()
    boxes, scores = graph.of_shape((1, 50, 4)), graph.of_shape((1, 2, 50))
    limits = [graph.constant(np.array([v], kind)) for v, kind in ((10, np.int64), (0.5, np.float32), (0.2, np.float32))]
    found = graph.node("NonMaxSuppression", boxes, scores, *limits)
    return graph.show(graph.node("Cast", found, to=TensorProto.FLOAT))


KINDS: dict[str, tuple[Callable[[], KindGraph], str]] = {
    "scrfd": (lambda: per_level((1, 4, 10), sigmoid=(0,)), "an SCRFD face detector"),
    "ultraface": (lambda: shapes((1, 442, 2), (1, 442, 4)), "a face detector with prior boxes"),
    "retinaface": (lambda: shapes((1, 168, 4), (1, 168, 2), (1, 168, 10)), "a face detector with prior boxes"),
    "ssd": (lambda: shapes((1, 800, 4), (1, 800, 21)), "an SSD detector"),
    "bins that end in a sigmoid": (lambda: per_level((80, 32), sigmoid=(0, 1)), "a NanoDet or PicoDet detector"),
    "yolov6": (yolov6, "a YOLOv6 detector"),
    "shared classes": (lambda: per_level((12, 3, 80), maps=True), "a Yolo-FastestV2"),
    "rt-detr": (lambda: queries((1, 300, 84)), "a detector with queries"),
    "yolo-world": (built_in_texts, "an open-vocabulary detector with its classes built in"),
    "detr": (lambda: queries((1, 100, 4), (1, 100, 92)), "a detector with queries"),
    "blazeface": (mediapipe, "a detector of MediaPipe's form"),
    "yolov4": (lambda: shapes((1, 252, 1, 4), (1, 252, 3)), "pytorch-YOLOv4"),
    "suppressed": (suppressed, "suppression inside"),
    "ctc": (lambda: shapes((1, 40, 97), hw=(32, 320)), "a text recognizer"),
    "ctc, characters first": (lambda: shapes((1, 68, 18), hw=(24, 96)), "a text recognizer"),
    "ctc and color": (lambda: shapes((1, 21, 78), (1, 5), hw=(48, 160)), "a text recognizer"),
    "a value without channel": (lambda: shapes((1, 64, 64)), "a map of one value per pixel"),
    "many values": (lambda: shapes((1, 300, 8, 8)), "a map of several values per pixel"),
    "centers": (lambda: shapes((1, 3, 16, 16), (1, 2, 16, 16), (1, 2, 16, 16)), "a CenterNet detector"),
    "simcc": (lambda: shapes((1, 17, 128), (1, 17, 96)), "a keypoint model of one object"),
    "backbone": (lambda: shapes((1, 8, 16, 16), (1, 16, 8, 8), (1, 32, 4, 4)), "a backbone"),
    "attributes": (lambda: shapes((1, 2), (1, 8)), "a classifier with several heads"),
}


@pytest.mark.parametrize(("make", "name"), KINDS.values(), ids=KINDS.keys())
def test_named(make: Callable[[], KindGraph], name: str) -> None:
    """The message names the kind and the shapes that were found, and advises no size."""
    model = simplify(make().model())
    with pytest.raises(GraphError) as caught:
        find_supported_head(model, None)
    first = model.graph.output[0]
    assert name in caught.value.message
    assert "This version does not build it" in caught.value.message
    assert f"{first.name} (" in caught.value.message
    assert "imgsz" not in str(caught.value)


@pytest.mark.parametrize("beside", [((1, 3, 4, 12, 8),), ((1, 120, 8),)], ids=["raw levels", "a second table"])
def test_what_only_looks_like_text(beside: tuple[tuple[int, ...], ...]) -> None:
    """Rows of a wide image that are not steps of one line of text: a detector's, with its levels."""
    model = simplify(shapes((1, 30, 8), *beside, hw=(32, 96)).model())
    found = kind_among(UNREAD, facts_of(GraphView(model)))
    assert found is None or "text" not in found.name


def test_maps_of_eight_distances() -> None:
    """NanoDet's maps are read as its rows are; without a checkpoint nothing proves it."""
    model = simplify(per_level((80, 32), maps=True, sigmoid=(0,)).model())
    _, head = find_supported_head(model, None)
    assert [tap.role for tap in head.taps] == 3 * ["dfl_boxes", "scores"]
    assert "nothing proves that it is decoded right" in note_of_unproven("nanodet.onnx", head)


@pytest.mark.parametrize("columns", [(4, 3, 1), (4, 1, 6)])
def test_what_only_looks_like_yolox(columns: tuple[int, int, int]) -> None:
    """Boxes, classes and an angle, or keypoints of one class, have YOLOX's channels and are not called so."""
    graph = KindGraph()
    parts = []
    for stride in (8, 16, 32):
        level = [graph.rows(graph.conv(stride, n), n) for n in columns]
        decoded = graph.node("Mul", level[0], graph.constant(np.float32(stride)))
        parts.append(graph.node("Concat", decoded, graph.node("Sigmoid", level[1]), level[2], axis=2))
    graph.show(graph.node("Concat", *parts, axis=1))
    assert kind_among(MISREAD, facts_of(GraphView(simplify(graph.model())))) is None


Inputs = Sequence[tuple[str, int, Sequence[int | str]]]
FLOAT = TensorProto.FLOAT
IMAGE = ("image", FLOAT, [1, 3, 64, 64])


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ([("image", FLOAT, [1, 4, 64, 64])], r"four channels.*Only color"),
        ([("image", FLOAT, ["n", 4, 64, 64])], "four channels"),
        ([IMAGE, ("orig_target_sizes", FLOAT, [1, 2])], "a detector with queries"),
        ([IMAGE, ("texts", FLOAT, [1, 80, 512])], "an open-vocabulary detector"),
        ([IMAGE, ("anchors", FLOAT, [1, 3])], "inputs in addition to its image.*one image input"),
        ([IMAGE, ("template", FLOAT, [1, 3, 32, 32])], "a model of several images"),
        ([IMAGE, ("threshold", FLOAT, [1])], "inputs in addition to its image.*one image input"),
        ([("ids", TensorProto.INT64, [1, 77])], "not an image model"),
    ],
)
def test_inputs(inputs: Inputs, name: str) -> None:
    """Inputs alone tell four channels, texts, sizes and second images."""
    with pytest.raises(GraphError, match=name):
        require_image_model(with_inputs(inputs))


def test_paddle_with_post_processing() -> None:
    """PaddleDetection's second input and its list of boxes are distinguished from a detector with queries."""
    with pytest.raises(GraphError, match=r"a PaddleDetection export.*PicoDet and PP-YOLOE build with it"):
        require_image_model(with_inputs([IMAGE, ("scale_factor", FLOAT, [1, 2])], output=["n"]))


def test_a_usual_image_passes() -> None:
    """One image of three channels, of a fixed or free size, is not a kind of its own."""
    require_image_model(with_inputs([IMAGE]))
    require_image_model(with_inputs([("images", TensorProto.FLOAT16, ["n", 3, "h", "w"])]))


def with_inputs(inputs: Inputs, output: list[int | str] | None = None) -> onnx.ModelProto:
    """A graph of one node with some inputs."""
    node = helper.make_node("Identity", [inputs[0][0]], ["y"])
    graph = helper.make_graph(
        [node],
        "inputs",
        [helper.make_tensor_value_info(*described) for described in inputs],
        [helper.make_tensor_value_info("y", FLOAT, output or [1, 84, 8])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_size_bins() -> None:
    """YOLOv7's IBin is named, with what to do, and not taken for text along its rows."""
    model = simplify(open_network(DATA / "yolov7" / "bins.pt", imgsz=(64, 96)).trained)
    with pytest.raises(GraphError, match=r"is a YOLOv7 whose widths .* bins \(IBin\)") as caught:
        find_supported_head(model, None)
    assert "checkpoint builds" in str(caught.value.hint)


def test_raw_size_bins(tmp_path: Path) -> None:
    """Raw maps of IBin are named when their checkpoint is given, instead of being called another model's."""
    checkpoint = DATA / "yolov7" / "bins.pt"
    network = open_network(checkpoint, imgsz=(64, 96))
    raw = onnx.ModelProto()
    raw.CopyFrom(network.simplified)
    del raw.graph.output[:]
    raw.graph.output.extend(
        helper.make_tensor_value_info(tap.tensor, TensorProto.FLOAT, tap.shape) for tap in network.head.taps
    )
    prune(raw.graph)
    path = tmp_path / "raw.onnx"
    onnx.save(raw, str(path))
    with pytest.raises(GraphError, match=r"42 numbers more than box, objectness and 3 classes.*\(IBin\)") as caught:
        open_network(path, weights=checkpoint)
    assert "checkpoint builds" in str(caught.value.hint)
