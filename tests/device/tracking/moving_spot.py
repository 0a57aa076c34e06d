"""A detector of a bright spot, and pictures in which one moves: 32 x 32 pixels in cells of 8."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.bundle import CONTRACT, new_bundle, write_json
from tests.accuracy.tiny_model import SIDE, SPEC


def make_spot_bundle(folder: Path) -> None:
    """Write a bundle that finds a bolt of 16 x 16 pixels around each cell, with its brightness as the score."""
    weights = np.zeros((7, 3, 1, 1), np.float32)
    weights[4] = 1 / 3
    bias = np.array([0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.0], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Conv", ["cells", "weights", "bias"], ["stride8_map"]),
        ],
        "spot",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("stride8_map", TensorProto.FLOAT, (1, 7, 4, 4))],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, SPEC)
        (partial / "best.rknn").write_bytes(b"RKNN")
        onnx.save(model, str(partial / "best-cut.onnx"))


def write_pictures(folder: Path, columns: list[int], values: list[int]) -> None:
    """Write a picture for each column of cells in which the spot is, in the second row, of a gray value."""
    folder.mkdir(parents=True)
    for number, (column, value) in enumerate(zip(columns, values, strict=True)):
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        picture[8:16, 8 * column : 8 * column + 8] = value
        cv2.imwrite(str(folder / f"{number}.png"), picture)
