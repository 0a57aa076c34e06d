"""Heads with several boxes per cell: RetinaFace, UltraFace and SSD with and without their decode, SCRFD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import PriorFormula
from rkdeploy.contract.spec import Anchors, InputSpec, ModelSpec
from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError, VerificationError
from rkdeploy.host.building.presets import PresetName, with_preset
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.box_tables import cell_stride
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.prior_probe import find_prior_head
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.verify import verify
from tests.host.graph.prior_graphs import HW, SIDES, STRIDES, Form, priors, scrfd, ssd

SQUARES = Anchors(tuple(tuple((side, side) for side in sides) for sides in SIDES))


def contract(model: onnx.ModelProto, head: Head, hw: tuple[int, int]) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph and its contract."""
    graph, outputs = cut(model, head, CutOptions())
    return graph, ModelSpec(
        head.kind,
        "detect" if head.keypoints is None else "pose",
        tuple(str(number) for number in range(head.classes)),
        InputSpec("images", *hw),
        outputs,
        anchors=head.anchors,
        keypoints=head.keypoints,
        points=head.points,
        prior_formula=head.prior_formula,
    )


def pixels(hw: tuple[int, int]) -> NDArray[np.float32]:
    """An image of noise, as the network takes it."""
    return np.random.default_rng(1).normal(size=(1, 3, *hw)).astype(np.float32)


def decoded(graph: onnx.ModelProto, spec: ModelSpec, image: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
    """All rows by the contract, by field."""
    raw = Session(graph).run({"images": image})
    tensors = [HeadTensor(raw[output.name]) for output in spec.outputs]
    return {field.name: field.values for field in decoder_for(spec).decode_dense(tensors)}


def found_head(model: onnx.ModelProto, preset: PresetName | None = None) -> Head:
    """The head, with what the preset says."""
    head = find_supported_head(model, None)[1]
    return head if preset is None else with_preset(InputSpec("images", *HW), head, preset)[1]


@pytest.mark.parametrize(("classes", "points"), [(1, 0), (1, 5), (3, 0)])
@pytest.mark.parametrize("form", ["corners", "centers"])
@pytest.mark.parametrize("softmax", [True, False], ids=["softmax", "logits"])
def test_decoded_ssd_proves_itself(form: Form, classes: int, points: int, softmax: bool) -> None:
    """Anchors, strides and gains are read out of the decode, which then proves the contract."""
    model = simplify(ssd(form, classes=classes, points=points, softmax=softmax).model())
    head = found_head(model)
    assert (head.anchors, head.prior_formula, head.proves_decode) == (SQUARES, PriorFormula(), True)
    assert (head.kind, head.classes) == ("retinaface" if points else "ssd", classes)
    graph, spec = contract(model, head, HW)
    images = [("noise", np.random.default_rng(0).integers(0, 256, (1, *HW, 3), np.uint8))]
    assert verify(model, head, graph, spec, images).decode_proven
    with pytest.raises(VerificationError, match="box centers differ by"):
        verify(model, head, graph, replace(spec, prior_formula=PriorFormula(0.12, 0.2)), images)
    wrong = Anchors((*SQUARES.levels_px[:2], ((64.0, 90.0), (64.0, 91.0))))
    with pytest.raises(VerificationError, match="box sizes differ by"):
        verify(model, head, graph, replace(spec, anchors=wrong), images)


def test_raw_retinaface() -> None:
    """The preset says the anchors; scores are the graph's own, boxes and landmarks by upstream's formula."""
    model = simplify(ssd(points=5).model())
    head = found_head(model)
    assert (head.kind, head.anchors, head.proves_decode) == ("retinaface", None, False)
    head = replace(head, anchors=SQUARES)
    graph, spec = contract(model, head, HW)
    image = pixels(HW)
    rows = decoded(graph, spec, image)
    boxes, scores, points = (v[0].astype(np.float64) for v in Session(model).run({"images": image}).values())
    prior = priors()
    np.testing.assert_allclose(rows["scores"], scores[:, 1:], atol=1e-5)
    np.testing.assert_allclose(rows["xy"], prior[:, :2] + boxes[:, :2] * 0.1 * prior[:, 2:], atol=1e-3)
    np.testing.assert_allclose(rows["wh"], np.exp(boxes[:, 2:] * 0.2) * prior[:, 2:], rtol=1e-4)
    expected = prior[:, None, :2] + points.reshape(-1, 5, 2) * 0.1 * prior[:, None, 2:]
    np.testing.assert_allclose(rows["keypoint_xy"].reshape(expected.shape), expected, atol=1e-3)


def test_tables_side_by_side() -> None:
    """A RetinaFace whose exporter put boxes, scores and landmarks into one table has the head of one with three."""
    model = ssd(points=5).model()
    end = onnx.helper.make_node("Concat", [o.name for o in model.graph.output], ["all"], axis=2)
    model.graph.node.append(end)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("all", onnx.TensorProto.FLOAT, (1, len(priors()), 16)))
    head, apart = found_head(simplify(model)), found_head(simplify(ssd(points=5).model()))
    assert (head.kind, [(tap.role, tap.shape) for tap in head.taps]) == (
        "retinaface", [(tap.role, tap.shape) for tap in apart.taps],
    )  # fmt: skip


def test_a_preset_without_such_anchors_is_refused() -> None:
    """RetinaFace has two anchors on each level."""
    model = simplify(ssd(points=5).model())
    with pytest.raises(GraphError, match=r"has 3, 2, 2 anchors on its levels, unknown to --preset retinaface"):
        found_head(model, "retinaface")
    with pytest.raises(GraphError, match=r"--preset retinaface .*--preset retinaface-1mb"):
        with_preset(InputSpec("images", *HW), found_head(model), None)


@pytest.mark.parametrize("points", [5, 0], ids=["landmarks", "boxes only"])
@pytest.mark.parametrize("sigmoid", [True, False], ids=["sigmoid", "logits"])
@pytest.mark.parametrize("batch", [True, False], ids=["batch", "no batch"])
def test_scrfd(points: int, sigmoid: bool, batch: bool) -> None:
    """Distances and landmarks from the corner of the cell, two boxes per cell, whatever the outputs' form."""
    graph = scrfd(points=points, sigmoid=sigmoid, batch=batch)
    model = simplify(graph.model())
    head = found_head(model, "scrfd")
    cut_graph, spec = contract(model, head, graph.hw)
    image = pixels(graph.hw)
    rows = decoded(cut_graph, spec, image)
    shown = [v.reshape(-1, v.shape[-1]).astype(np.float64) for v in Session(model).run({"images": image}).values()]
    scores, box = np.concatenate(shown[:3]), np.concatenate(shown[3:6])
    cells = [np.stack((x, y), axis=-1) for s in STRIDES for y, x in np.ndindex(graph.hw[0] // s, graph.hw[1] // s)]
    corner = np.repeat(np.array(cells, np.float64), 2, axis=0)
    stride = np.concatenate([np.full((2 * graph.hw[0] * graph.hw[1] // s**2, 1), s) for s in STRIDES])
    np.testing.assert_allclose(rows["scores"], scores if sigmoid else 1 / (1 + np.exp(-scores)), atol=1e-5)
    np.testing.assert_allclose(rows["xy"], (corner + (box[:, 2:] - box[:, :2]) / 2) * stride, atol=1e-3)
    np.testing.assert_allclose(rows["wh"], (box[:, :2] + box[:, 2:]) * stride, atol=1e-3)
    if points:
        expected = (corner[:, None] + np.concatenate(shown[6:]).reshape(-1, 5, 2)) * stride[:, None]
        np.testing.assert_allclose(rows["keypoint_xy"].reshape(expected.shape), expected, atol=1e-3)
    else:
        assert "keypoint_xy" not in rows


def other_heads() -> dict[str, Any]:
    from tests.host.graph.kind_graphs import per_level, yolox

    return {
        "anchors that are not regular": ssd("corners", clip=True),
        "one box per cell": per_level((1, 1, 4, 10), sigmoid=(0, 1)),
        "YOLOX": yolox(),
    }


@pytest.mark.parametrize("name", other_heads())
def test_other_heads(name: str) -> None:
    """Heads that are not of this kind are left to others."""
    model = simplify(other_heads()[name].model())
    graph = GraphView(model)
    assert find_prior_head(graph, graph.outputs) is None


@pytest.mark.parametrize(
    ("image", "grid", "stride"),
    [((240, 320), (4, 5), 64), ((640, 640), (80, 80), 8), ((300, 300), (19, 19), 16), ((300, 300), (3, 3), 100),
     ((60, 96), (4, 6), 16), ((64, 64), (8, 16), None), ((64, 64), (0, 1), None)],
)  # fmt: skip
def test_strides_are_rounded_up(image: tuple[int, int], grid: tuple[int, int], stride: int | None) -> None:
    """A whole number of pixels that makes the cells: exact, else a power of two, else any."""
    assert cell_stride(image, grid) == stride
