"""Small bundles for chains: a classifier by brightness; the detector is `tests.accuracy.tiny_model`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.bundle import CONTRACT, Bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec, NpuModel

SIDE = 16
BRIGHTNESS = ModelSpec(
    family="onnx",
    task="classify",
    class_names=("dark", "bright"),
    input=InputSpec("images", SIDE, SIDE, fit="stretch"),
    outputs=(HeadOutput("scores", "class_scores", 0, SIDE, (1, 2, 1, 1)),),
    model=NpuModel("best.rknn", "rk3588", "int8"),
)


def make_brightness_bundle(folder: Path) -> Bundle:
    """Write a classifier whose logits are 12 times the mean's distance from 0.5: bright above it, dark below."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Conv", ["mean", "weight", "bias"], ["scores"]),
    ]
    weight = np.array([[-4] * 3, [4] * 3], np.float32).reshape(2, 3, 1, 1)
    tensors = [
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(np.array((6, -6), np.float32), "bias"),
    ]
    return write_bundle(folder, BRIGHTNESS, nodes, tensors)


def write_bundle(folder: Path, spec: ModelSpec, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> Bundle:
    """Write a bundle of a contract and its float network, without a built model."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, spec.input.height, spec.input.width))],
        [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, output.shape) for output in spec.outputs],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, spec)
        (partial / "best.rknn").write_bytes(b"RKNN")
        onnx.save(model, str(partial / "best-cut.onnx"))
    return read_bundle(folder)
