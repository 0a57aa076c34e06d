"""Yolo-FastestV2's heads from ONNX: one convolution per level takes the place of three, and the outputs stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.building.supported_head import find_supported_head
from rkdeploy.host.graph.head_kinds import SHARED
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.kind_graphs import KindGraph

ANCHORS = (10.0, 13.0, 16.0, 30.0, 33.0, 23.0, 30.0, 61.0, 62.0, 45.0, 59.0, 119.0)


class SharedGraph(KindGraph):
    """The head of Yolo-FastestV2 on two levels of features."""

    def __init__(self, classes: int = 4, form: str = "maps", kernel: int = 1) -> None:
        """Build the graph.

        Args:
            classes: number of classes.
            form: of the outputs: maps of logits, a table of each level, or one table.
            kernel: of the last convolutions.
        """
        super().__init__((64, 96))
        tables = []
        for stride in (16, 32):
            boxes, scores = (self.node("Relu", self.conv(stride, 6)) for _ in range(2))
            parts = [
                self.plain(boxes, 12, kernel), self.plain(scores, 3, kernel), self.plain(scores, classes, kernel)
            ]  # fmt: skip
            if form == "maps":
                self.show(*parts)
                continue
            made = [self.node("Sigmoid", parts[0]), self.node("Sigmoid", parts[1])]
            made.append(self.node("Softmax", parts[2], axis=1))
            tables.append(self.node("Transpose", self.node("Concat", *made, axis=1), perm=[0, 2, 3, 1]))
        if form == "tables":
            self.show(*tables)
        elif form == "one table":
            shape = self.constant(np.array([-1, 15 + classes]))
            self.show(self.node("Concat", *(self.node("Reshape", table, shape) for table in tables), axis=0))

    def plain(self, tensor: str, channels: int, kernel: int) -> str:
        """A convolution of features that keeps their grid."""
        weight = self._rng.normal(size=(channels, 6, kernel, kernel)).astype(np.float32)
        bias = self._rng.normal(size=channels).astype(np.float32)
        pads = [kernel // 2] * 4
        return self.node("Conv", tensor, self.constant(weight), self.constant(bias), pads=pads)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("form", ["maps", "tables", "one table"])
def test_one_convolution_per_level(form: str, classes: int) -> None:
    """Every output is as before, and the map has each anchor's fields side by side with the classes of its cell."""
    model = simplify(SharedGraph(classes, form).model())
    headed, head = find_supported_head(model, None)
    assert (head.kind, head.classes, head.anchors_per_level) == (SHARED, classes, 3)
    assert head.anchor_formula == AnchorFormula(classes="softmax")
    assert [(tap.stride, tap.shape) for tap in head.taps] == [
        (16, (1, 3 * (5 + classes), 4, 6)),
        (32, (1, 3 * (5 + classes), 2, 3)),
    ]
    image = {"images": np.random.default_rng(1).normal(size=(1, 3, 64, 96)).astype(np.float32)}
    before, after = (Session(graph).run(image) for graph in (model, headed))
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=1e-5)
    if form != "maps":
        return
    shown = onnx.ModelProto()
    shown.CopyFrom(headed)
    shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(head.taps[0].tensor))
    joined = Session(shown).run(image)[head.taps[0].tensor].reshape(3, 5 + classes, 4, 6)
    boxes, objectness, shared = list(before.values())[:3]
    np.testing.assert_allclose(joined[:, :4].reshape(1, 12, 4, 6), boxes, atol=1e-5)
    np.testing.assert_allclose(joined[None, :, 4], objectness, atol=1e-5)
    np.testing.assert_allclose(joined[:, 5:], np.repeat(shared, 3, axis=0), atol=1e-5)


def test_larger_kernels_are_named() -> None:
    """Three convolutions that are not 1x1 are not joined: the kind is named."""
    with pytest.raises(GraphError, match=r"a Yolo-FastestV2 .* not 1x1"):
        find_supported_head(simplify(SharedGraph(kernel=3).model()), None)


def test_preset_says_images_and_anchors(tmp_path: Path) -> None:
    """Without a preset the message names it; with it COCO's anchors are taken unless others are given."""
    path = tmp_path / "fast.onnx"
    onnx.save(SharedGraph().model(), str(path))
    with pytest.raises(RkdeployError, match="--preset yolo-fastestv2"):
        with_choice(open_network(path), InputChoice())
    network = with_choice(open_network(path), InputChoice(preset="yolo-fastestv2"))
    assert network.anchors is not None
    assert network.anchors.levels_px[0][0] == (12.64, 19.39)
    assert (network.input.color, network.input.fit, network.family) == ("bgr", "stretch", "yolo-fastestv2")
    assert any("nothing proves" in note for note in network.notes)
    given = with_choice(open_network(path, anchors=ANCHORS), InputChoice(preset="yolo-fastestv2"))
    assert given.anchors is not None
    assert given.anchors.levels_px == (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)))
