"""A bundle whose float network gives the same result for every image, and labeled images for it.

One box, x 4 to 20 and y 4 to 20 of 32x32 pixels: a bolt with 0.9, a nut with 0.45.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.bundle import CONTRACT, Bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel

SIDE = 32
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt", "nut"),
    input=InputSpec("images", SIDE, SIDE),
    outputs=(HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 7, 4, 4), "sigmoid"),),
    anchors=Anchors((((16.0, 16.0),),)),
    model=NpuModel("best.rknn", "rk3588", "int8"),
)


def head_values() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The head's tensor: cell 1, 1 has x, y, w, h of 0.5 (twice that minus 0.5 is its middle), 0.9, 1.0, 0.5."""
    values = np.zeros((1, 7, 4, 4), np.float32)
    values[0, :, 1, 1] = (0.5, 0.5, 0.5, 0.5, 0.9, 1.0, 0.5)
    return values


def make_bundle(folder: Path) -> Bundle:
    """Write the bundle."""
    constant = numpy_helper.from_array(head_values(), "head")
    zero = numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "zero")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Slice", ["means", "from", "to", "axes"], ["mean"]),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "head"], ["stride8_map"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("stride8_map", TensorProto.FLOAT, (1, 7, 4, 4))],
        [
            constant,
            zero,
            *(numpy_helper.from_array(np.array([v], np.int64), n) for n, v in (("from", 0), ("to", 1), ("axes", 1))),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, SPEC)
        (partial / "best.rknn").write_bytes(b"RKNN")
        onnx.save(model, str(partial / "best-cut.onnx"))
    return read_bundle(folder)


def make_data(root: Path, count: int = 20) -> Path:
    """`count` images: on the even ones the bolt is where the network says, on the odd ones there is none."""
    for part in ("images/val", "labels/val"):
        (root / part).mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(root / "images/val" / f"{i:03}.png"), np.full((SIDE, SIDE, 3), i, np.uint8))
        if i % 2 == 0:
            (root / "labels/val" / f"{i:03}.txt").write_text("0 0.375 0.375 0.5 0.5\n")
    yaml = root / "data.yaml"
    yaml.write_text("path: .\nval: images/val\nnames: [bolt, nut]\n")
    return yaml
