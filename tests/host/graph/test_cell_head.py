"""Heads recognized by the outputs' columns: YOLOX in all its forms, YuNet, NanoDet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.formulas import PointFormula
from rkdeploy.contract.spec import InputSpec, ModelSpec
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, VerificationError
from rkdeploy.host.building.onnx_graph import open_graph
from rkdeploy.host.building.presets import KIND_NAMES, PRESETS, PresetName, fitting, with_preset
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.verify import verify
from tests.host.graph.kind_graphs import KindGraph, per_level, yolox

IMAGE = InputSpec("images", 64, 64)


def head_of(graph: KindGraph) -> tuple[onnx.ModelProto, Head]:
    return find_supported_head(simplify(graph.model()), None)


def contract(head: Head, model: onnx.ModelProto) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph and its contract."""
    graph, outputs = cut(model, head, CutOptions())
    names = tuple(f"class_{i}" for i in range(head.classes))
    spec = ModelSpec(
        head.kind, "detect", names, IMAGE, outputs, keypoints=head.keypoints, points=head.points
    )  # fmt: skip
    return graph, spec


def roles(head: Head) -> list[tuple[str, int, int]]:
    return [(t.role, t.shape[1] if t.channels is None else len(t.channels), t.stride) for t in head.taps]


YOLOX_FORMS: dict[str, Callable[[], KindGraph]] = {
    "rows": yolox,
    "decoded": lambda: yolox(decoded=True),
    "maps of the vendor's fork": lambda: yolox(rows=False),
    "no sigmoid": lambda: yolox(sigmoid=False),
    "reshaped where it should be transposed": lambda: yolox(scrambled=True),
    "one class": lambda: yolox(order=(4, 1, 1)),
}


@pytest.mark.parametrize("make", YOLOX_FORMS.values(), ids=YOLOX_FORMS)
def test_yolox(make: Callable[[], KindGraph]) -> None:
    """The last convolutions are identified in every form of the output."""
    _, head = head_of(make())
    classes = head.classes
    assert roles(head) == [
        (role, width, stride)
        for stride in (8, 16, 32)
        for role, width in (("center_boxes", 4), ("scores", classes), ("objectness", 1))
    ]
    assert (head.kind, head.points is not None and head.points.offset) == ("yolox", 0.0)


def test_decode_is_proven() -> None:
    """The decode of --decode_in_inference proves the contract; boxes from the cells' middle are refused."""
    model, head = head_of(yolox(decoded=True))
    assert head.proves_decode
    graph, spec = contract(head, model)
    images = [("noise", np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8))]
    assert verify(model, head, graph, spec, images).decode_proven
    with pytest.raises(VerificationError, match="box centers differ by"):
        verify(model, head, graph, replace(spec, points=PointFormula(0.5, "product")), images)


def test_decoded_otherwise() -> None:
    """Boxes that are not centers and exponentials of the raw ones are not a YOLOX."""
    with pytest.raises(GraphError, match="decoded in a way of its own"):
        head_of(yolox(decoded=True, scale=1.5))


def test_yunet() -> None:
    """Two probabilities, boxes and five landmarks of each level, in outputs of their own."""
    _, head = head_of(per_level((1, 1, 4, 10), sigmoid=(0, 1)))
    assert roles(head)[:4] == [("center_boxes", 4, 8), ("scores", 1, 8), ("objectness", 1, 8), ("keypoint_xy", 10, 8)]
    assert head.points is not None
    assert head.points.score == "root"
    assert head.keypoints is not None
    assert (head.keypoints.count, head.keypoints.scored, head.keypoints.gain, head.keypoints.offset) == (5, False, 1, 0)


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "rows alone"])
@pytest.mark.parametrize("whole", [False, True], ids=["two convolutions", "one convolution"])
def test_nanodet(whole: bool, batch: bool) -> None:
    """Classes and distributions, of a convolution each or of one that is split, in (1, rows, n) or (rows, n)."""
    graph = KindGraph()
    for stride in (8, 16, 32):
        if whole:
            level = graph.conv(stride, 80 + 32)
            ends = [graph.constant(np.array([n])) for n in (0, 80, 112, 1)]
            scores, boxes = (graph.node("Slice", level, a, b, ends[3]) for a, b in pairwise(ends[:3]))
        else:
            scores, boxes = graph.conv(stride, 80), graph.conv(stride, 32)
        for tensor, width in ((graph.node("Sigmoid", scores), 80), (boxes, 32)):
            rows = graph.node("Reshape", tensor, graph.constant(np.array([1, width, -1] if batch else [width, -1])))
            graph.show(graph.node("Transpose", rows, perm=[0, 2, 1] if batch else [1, 0]))
    model, head = head_of(graph)
    assert roles(head)[:2] == [("dfl_boxes", 32, 8), ("scores", 80, 8)]
    cut_graph, spec = contract(head, model)
    image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    shown = list(Session(model).run({"images": image}).values())
    raw = Session(cut_graph).run({"images": image})
    dense = decoder_for(spec).decode_dense([HeadTensor(raw[output.name]) for output in spec.outputs])
    expected = np.concatenate([values.reshape(-1, 80) for values in shown if values.shape[-1] == 80])
    np.testing.assert_allclose(next(f.values for f in dense if f.name == "scores"), expected, atol=1e-5)


def test_a_preset_is_needed() -> None:
    """The error names the presets that fit; one that fits sets input and formula, one that does not is refused."""
    _, head = head_of(yolox())
    with pytest.raises(GraphError, match=r"--preset yolox .*--preset yolox-legacy"):
        with_preset(IMAGE, head, None)
    with pytest.raises(GraphError, match=r"Presets that fit: yolox, yolox-legacy"):
        with_preset(IMAGE, head, "nanodet")
    image, chosen = with_preset(IMAGE, head, "yolox")
    assert (image.color, image.mean, image.std, image.place, image.name) == (
        "bgr", (0.0,) * 3, (1.0,) * 3, "top_left", "images",
    )  # fmt: skip
    assert chosen.points == head.points


def test_presets_set_the_point_of_a_cell() -> None:
    """NanoDet-Plus measures from the cell's corner, NanoDet from its middle."""
    _, head = head_of(per_level((80, 32), sigmoid=(0,)))
    offsets = {name: with_preset(IMAGE, head, name)[1].points for name in fitting(head)}
    assert {name: points and points.offset for name, points in offsets.items()} == {
        "nanodet": 0.5, "nanodet-plus": 0.0, "picodet": 0.5,
    }  # fmt: skip


def test_no_preset_where_none_is_needed() -> None:
    """Other heads take none, and each preset is of a kind that there is."""
    with pytest.raises(GraphError, match=r"takes no preset"):
        with_preset(IMAGE, Head((), 1), "yolox")
    assert with_preset(IMAGE, Head((), 1), None) == (IMAGE, Head((), 1))
    assert {kind for preset in PRESETS.values() for kind in preset.kinds} == KIND_NAMES.keys()


RTMDET: dict[str, tuple[str, str, tuple[PresetName, ...]]] = {
    "stride": ("rtmdet", "pixels", ("rtmdet",)),
    "exp": ("rtmdet", "exp", ("rtmdet-exp",)),
    "folded": ("", "", ("rtmdet", "rtmdet-pixels", "rtmdet-exp")),
}


@pytest.mark.parametrize(("kind", "distance", "names"), RTMDET.values(), ids=RTMDET)
def test_rtmdet_without_its_decode(
    kind: str, distance: str, names: tuple[PresetName, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Logits and distances in pixels of each level, as mmdetection's head gives them, before and after onnxsim folded
    the stride into the convolutions.
    """
    form = request.node.callspec.id
    graph = KindGraph()
    for stride in (8, 16, 32):
        scores, boxes = graph.conv(stride, 3), graph.conv(stride, 4)
        distances = graph.node("Exp", boxes) if form == "exp" else boxes
        if form != "folded":
            distances = graph.node("Mul", distances, graph.constant(np.float32(stride)))
        graph.show(scores, distances)
    onnx.save(graph.model(), str(tmp_path / "rtmdet.onnx"))
    head = open_graph(tmp_path / "rtmdet.onnx", None, None, 0).head
    assert roles(head)[:2] == [("ltrb_boxes", 4, 8), ("scores", 3, 8)]
    assert (head.kind, head.points.distance if head.points else "", fitting(head)) == (kind, distance, names)
    for name in names:
        _, chosen = with_preset(IMAGE, head, name)
        assert chosen.points is not None
        assert chosen.points.distance == (distance or PRESETS[name].distance)


def test_picodet_without_its_decode() -> None:
    """The quality is found behind the root of its product with the classes."""
    graph = KindGraph()
    for stride in (8, 16, 32):
        scores, quality = (graph.node("Sigmoid", graph.conv(stride, width)) for width in (3, 1))
        joined = graph.node("Sqrt", graph.node("Mul", scores, quality))
        graph.show(graph.rows(joined, 3), graph.rows(graph.conv(stride, 32), 32))
    _, head = head_of(graph)
    assert roles(head)[:3] == [("dfl_boxes", 32, 8), ("scores", 3, 8), ("objectness", 1, 8)]
    assert (head.kind, head.points) == ("picodet", PointFormula(0.5, "root"))
