"""Class vectors times the cells of a map, as convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.class_vectors import with_class_convolutions
from rkdeploy.host.graph.session import Session

DATA = Path(__file__).parents[2] / "data" / "open_vocabulary"


def product(scale: tuple[float, ...] = (2.0,)) -> onnx.ModelProto:
    """(1, 6, 4, 5) to (1, 3, 4, 5): the map's cells times three vectors, times 2, less 1.5."""
    rng = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "vectors": rng.normal(size=(1, 3, 6)).astype(np.float32),
        "flat": np.array([1, 6, 20], np.int64),
        "map": np.array([1, 3, 4, 5], np.int64),
        "scale": np.array(scale, np.float32),
        "shift": np.array([-1.5], np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["cells"]),
        helper.make_node("MatMul", ["vectors", "cells"], ["alike"]),
        helper.make_node("Reshape", ["alike", "map"], ["laid"]),
        helper.make_node("Mul", ["laid", "scale"], ["scaled"]),
        helper.make_node("Add", ["shift", "scaled"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 5])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def test_product_scale_and_shift_become_one_convolution() -> None:
    """The values stay."""
    model = product()
    changed = with_class_convolutions(model)
    assert [node.op_type for node in changed.graph.node if "y" in node.output] == ["Conv"]
    x = {"x": np.random.default_rng(1).normal(size=(1, 6, 4, 5)).astype(np.float32)}
    np.testing.assert_allclose(Session(changed).run(x)["y"], Session(model).run(x)["y"], rtol=1e-5, atol=1e-5)


def test_other_products_stay() -> None:
    """A scale of several numbers ends the chain before the map is whole; a product of two computed tensors stays."""
    several = with_class_convolutions(product(scale=(1.0, 2.0, 3.0, 4.0, 5.0)))
    assert [node.op_type for node in several.graph.node if "y" in node.output] == ["Add"]
    computed = product()
    computed.graph.node[1].input[0] = "cells"
    assert with_class_convolutions(computed) is computed


def test_yolo_world_with_its_classes_built_in() -> None:
    """An export of Ultralytics builds: its scores are found, and its own decode proves them."""
    network = open_network(DATA / "worldv2.onnx")
    assert [tap.role for tap in network.head.taps] == ["dfl_boxes", "scores"]
    assert (network.head.classes, network.proves_decode) == (3, True)
