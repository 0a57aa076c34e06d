"""FastestDet's head from ONNX: one convolution takes the place of three, and the output stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from rkdeploy.device.postprocess.postprocessor import decoder_for
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.input_choice import with_choice
from rkdeploy.host.building.input_options import InputChoice
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.fastest_head import find_fastest_head
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_kinds import FASTEST
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from tests.host.graph.kind_graphs import KindGraph

HW = (64, 96)


def fastest(classes: int = 3, *, last: str = "Softmax") -> KindGraph:
    """Objectness, box and classes of one level, side by side; each convolution has features of its own.

    Args:
        classes: number of classes.
        last: activation of the classes.
    """
    graph = KindGraph(HW)
    rng = np.random.default_rng(5)
    parts = []
    for channels in (1, 4, classes):
        feature = graph.node("Relu", graph.conv(16, 6))
        weight = (rng.normal(size=(channels, 6, 1, 1)) * 0.3).astype(np.float32)
        parts.append(graph.node("Conv", feature, graph.constant(weight), graph.constant(np.ones(channels, np.float32))))
    parts[0] = graph.node("Sigmoid", parts[0])
    parts[2] = graph.node(last, parts[2], **({"axis": 1} if last == "Softmax" else {}))
    return graph.show(graph.node("Concat", *parts, axis=1))


@pytest.mark.parametrize("classes", [1, 3, 4])
def test_decode_is_that_of_the_training_code(classes: int, tmp_path: Path) -> None:
    """Rows by the contract's decode of the cut graph against the trainer's formulas on the file's own output."""
    path = tmp_path / "fast.onnx"
    onnx.save(fastest(classes).model(), str(path))
    with pytest.raises(RkdeployError, match="--preset fastestdet"):
        with_choice(open_network(path), InputChoice())
    network = with_choice(open_network(path), InputChoice(preset="fastestdet"))
    assert (network.head.kind, network.head.classes, network.family) == (FASTEST, classes, "fastestdet")
    graph, outputs = cut(network.simplified, network.head, CutOptions())
    spec = network.contract(outputs)
    image = {"images": np.random.default_rng(1).normal(size=(1, 3, *HW)).astype(np.float32)}
    own = next(iter(Session(network.trained).run(image).values()))[0].astype(np.float64)
    simplified = next(iter(Session(network.simplified).run(image).values()))[0]
    np.testing.assert_allclose(simplified, own, atol=1e-5)
    raw = Session(graph).run(image)
    tensors = [HeadTensor(raw[output.name]) for output in outputs]
    found = {field.name: field.values for field in decoder_for(spec).decode_dense(tensors)}
    y, x = np.indices((HW[0] // 16, HW[1] // 16))
    center = np.stack((np.tanh(own[1]) + x, np.tanh(own[2]) + y)).reshape(2, -1).T * 16
    size = (1 / (1 + np.exp(-own[3:5]))).reshape(2, -1).T * (HW[1], HW[0])
    scores = (own[0] ** 0.6 * own[5:] ** 0.4).reshape(classes, -1).T
    np.testing.assert_allclose(found["xy"], center, atol=1e-3)
    np.testing.assert_allclose(found["wh"], size, atol=1e-3)
    np.testing.assert_allclose(found["objectness"] * found["scores"], scores, atol=1e-5)
    kept = decoder_for(spec).candidates(tensors, np.full(classes, 0.5, np.float32))
    np.testing.assert_array_equal(kept.rows, np.flatnonzero(scores.max(axis=1) > 0.5))
    np.testing.assert_array_equal(kept.class_ids, scores.argmax(axis=1)[kept.rows])
    np.testing.assert_allclose(kept.scores, scores.max(axis=1)[kept.rows], atol=1e-5)


def test_other_activations_are_not_taken() -> None:
    """Classes by a sigmoid are another head's."""
    graph = fastest(last="Sigmoid")
    assert find_fastest_head(GraphView(simplify(graph.model())), [info.name for info in graph.outputs]) is None
