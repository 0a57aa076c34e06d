"""Natures of vectors by the last nodes of their graphs, and where an embedding is cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from rkdeploy.host.graph.embedding_probe import vector_nature, vector_output, with_embedding_head
from rkdeploy.host.graph.find_head import find_head
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head_kinds import EMBEDDING, VECTOR
from rkdeploy.host.graph.pixel_scale import prepared_pixels
from rkdeploy.host.graph.session import Session
from tests.host.graph.kind_graphs import KindGraph

WIDTH = 64


def vector(graph: KindGraph, width: int = WIDTH, *, bias: bool = True) -> str:
    """A last product: pooled maps of the image times a matrix, (1, width)."""
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", graph.conv(8, 16)))
    weight = np.random.default_rng(1).normal(size=(16, width)).astype(np.float32)
    if not bias:
        return graph.node("MatMul", pooled, graph.constant(weight))
    return graph.node("Gemm", pooled, graph.constant(weight), graph.constant(np.ones(width, np.float32)))


def ended(*ops: tuple[str, dict[str, object]], width: int = WIDTH, bias: bool = True) -> KindGraph:
    graph = KindGraph()
    end = vector(graph, width, bias=bias)
    for op, settings in ops:
        end = graph.node(op, end, **settings)
    return graph.show(end)


def statistics() -> KindGraph:
    graph = KindGraph()
    numbers = [graph.constant(np.full(WIDTH, v, np.float32)) for v in (1.5, 0.5, 0.1, 2.0)]
    return graph.show(graph.node("BatchNormalization", vector(graph), *numbers))


def reduced(kind: str) -> KindGraph:
    """A division by the length, as exporters and hands write it."""
    graph = KindGraph()
    found = vector(graph, 100)
    if kind == "lp":
        return graph.show(graph.node("LpNormalization", found, axis=1, p=2))
    if kind == "l2":
        length = graph.node("ReduceL2", found, axes=[1], keepdims=1)
        length = graph.node("Clip", length, graph.constant(np.float32(1e-12)))
        return graph.show(graph.node("Div", found, graph.node("Expand", length, graph.constant(np.array([1, 100])))))
    squares = graph.node("ReduceSum", graph.node("Mul", found, found), graph.constant(np.array([1])), keepdims=1)
    root = graph.node("Sqrt", graph.node("Add", squares, graph.constant(np.float32(1e-12))))
    if kind == "reciprocal":
        return graph.show(graph.node("Mul", found, graph.node("Reciprocal", root)))
    return graph.show(graph.node("Div", found, root))


def pooled(*before: str, stride: int = 8, channels: int = WIDTH) -> KindGraph:
    graph = KindGraph()
    maps = graph.conv(stride, channels)
    for op in before:
        maps = graph.node(op, maps, *((maps,) if op == "Add" else ()))
    return graph.show(graph.node("Flatten", graph.node("GlobalAveragePool", maps)))


NATURES: dict[str, tuple[Callable[[], KindGraph], str]] = {
    "statistics": (statistics, "embedding"),
    "l2": (lambda: reduced("l2"), "embedding"),
    "lp": (lambda: reduced("lp"), "embedding"),
    "by hand": (lambda: reduced("sqrt"), "embedding"),
    "reciprocal": (lambda: reduced("reciprocal"), "embedding"),
    "relu": (lambda: ended(("Relu", {})), "embedding"),
    "features of a backbone": (lambda: pooled("Add", "Relu"), "embedding"),
    "softmax": (lambda: ended(("Softmax", {"axis": 1})), "scores"),
    "sigmoid": (lambda: ended(("Sigmoid", {}), width=10), "scores"),
    "bias and 10 numbers": (lambda: ended(width=10), "scores"),
    "1000 maps, as SqueezeNet": (lambda: pooled("Relu", stride=1, channels=1000), "scores"),
    "bias and 64 numbers": (ended, "either"),
    "64 maps of the last convolution": (lambda: pooled("Relu", stride=1), "either"),
    "no bias": (lambda: ended(width=10, bias=False), "either"),
}


@pytest.mark.parametrize(("make", "nature"), NATURES.values(), ids=NATURES)
def test_natures(make: Callable[[], KindGraph], nature: str) -> None:
    graph = GraphView(make().model())
    assert vector_nature(graph) == nature
    model, head = find_head(graph, None)
    assert head.kind == {"embedding": EMBEDDING, "either": VECTOR, "scores": ""}[nature]
    assert head.taps[0].role == ("embedding" if nature == "embedding" else "class_scores")
    onnx.checker.check_model(model)


def test_a_checkpoint_that_has_classes_decides() -> None:
    _, head = find_head(GraphView(ended().model()), WIDTH)
    assert (head.kind, head.taps[0].role) == ("", "class_scores")


@pytest.mark.parametrize(
    ("other", "taken"), [("hidden", True), ("length", True), ("classes", False), ("elsewhere", False)]
)
def test_the_vector_among_several_outputs(other: str, taken: bool) -> None:
    """Next to a tensor that it is computed from, or to its length; not next to results of their own."""
    graph = KindGraph()
    found = vector(graph)
    hidden = graph.nodes[0].output[0]
    beside = {
        "hidden": lambda: hidden,
        "length": lambda: graph.node("ReduceL2", found, axes=[1], keepdims=1),
        "classes": lambda: vector(graph, 5),
        "elsewhere": lambda: graph.conv(4, 6),
    }[other]()
    assert vector_output(GraphView(graph.show(found, beside).model())) == (found if taken else "")


@pytest.mark.parametrize("kind", ["l2", "lp", "sqrt", "reciprocal"])
def test_cut_before_the_length(kind: str) -> None:
    """The tap is the product itself; the graph's own output is it divided by its length."""
    model, head = with_embedding_head(GraphView(reduced(kind).model()))
    (tap,), (shown,) = head.taps, head.tensors
    assert (tap.shape, shown.normalized) == ((1, 100, 1, 1), True)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tap.tensor))
    image = np.random.default_rng(2).random((1, 3, 64, 64), np.float32)
    values = Session(model).run({"images": image})
    raw = values[tap.tensor].ravel()
    assert np.linalg.norm(raw) > 1.5  # not of length 1 yet
    np.testing.assert_allclose(values[shown.output].ravel(), raw / np.linalg.norm(raw), atol=1e-5)


def prepared(*steps: tuple[str, object]) -> GraphView:
    """A graph that does arithmetic on its image before a convolution."""
    graph = KindGraph()
    tensor = "images"
    for op, number in steps:
        tensor = graph.node(op, tensor, graph.constant(np.asarray(number, np.float32)))
    weight = graph.constant(np.ones((4, 3, 8, 8), np.float32))
    return GraphView(graph.show(graph.node("Conv", tensor, weight, strides=[8, 8])).model())


@pytest.mark.parametrize(
    ("steps", "pixels"),
    [
        ([], ""),
        ([("Sub", 127.5), ("Mul", 0.0078125)], "bytes"),
        ([("Sub", np.full((1, 3, 1, 1), 120.0)), ("Div", np.full((1, 3, 1, 1), 58.0))], "bytes"),
        ([("Div", 255.0), ("Sub", np.full((1, 3, 1, 1), 0.45)), ("Div", np.full((1, 3, 1, 1), 0.22))], "bytes"),
        ([("Sub", 0.5), ("Div", 0.5)], "unit"),
        ([("Mul", 2.0), ("Sub", 1.0)], "unit"),
        ([("Sub", 120.0)], "bytes"),
        ([("Mul", 0.0)], ""),
    ],
)
def test_pixels_that_the_graph_prepares(steps: list[tuple[str, object]], pixels: str) -> None:
    assert prepared_pixels(prepared(*steps)) == pixels
