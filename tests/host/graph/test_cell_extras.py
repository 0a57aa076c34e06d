"""Masks and landmarks next to decoded boxes and scores: exports of YOLOv6's branches (tests/data/yolov6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.cell_extras import left_parts
from rkdeploy.host.graph.cell_formulas import ConvPart
from rkdeploy.host.graph.cell_tables import levels_of
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.head_walk import HeadConv
from rkdeploy.host.graph.verify import verify

DATA = Path(__file__).parents[2] / "data" / "yolov6"


@pytest.mark.parametrize(
    ("case", "roles"),
    [
        ("seg_n", ["ltrb_boxes", "scores", "mask_coefficients"] * 3 + ["prototypes"]),
        ("face_m", ["dfl_boxes", "scores", "keypoint_xy"] * 3),
    ],
)
def test_exports_build_like_their_checkpoints(case: str, roles: list[str]) -> None:
    """Both files give the same contract, and the file's own decode proves it."""
    of_file, of_checkpoint = (open_network(DATA / f"{case}.{kind}", imgsz=(64, 96)) for kind in ("onnx", "pt"))
    graph, outputs = cut(of_file.simplified, of_file.head, CutOptions())
    spec = of_file.contract(outputs)
    assert [output.role for output in spec.outputs] == roles
    other = of_checkpoint.contract(cut(of_checkpoint.simplified, of_checkpoint.head, CutOptions())[1])
    assert (spec.task, spec.keypoints) == (other.task, other.keypoints)
    assert [output.shape for output in spec.outputs] == [output.shape for output in other.outputs]
    image = np.ascontiguousarray(np.load(DATA / f"{case}.npz")["input"].transpose(0, 2, 3, 1))
    proof = verify(of_file.trained, of_file.reference_head, graph, spec, [("recorded", image)])
    assert {"keypoint_xy", "coefficients"} & {field.name for field in proof.fields}
    assert all(field.excess <= 1 for field in proof.fields)


def test_other_formulas_of_landmarks_are_refused(tmp_path: Path) -> None:
    """Landmarks that are decoded in an unknown way are not left out."""
    model = onnx.load(DATA / "face_m.onnx")
    adds = [node for node in model.graph.node if node.op_type == "Add" and node.name.startswith("/detect/Add")]
    points = [node for node in adds if onnx_shape(model, node.output[0])[-1] == 2][-5:]
    assert len(points) == 5
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.3, np.float32), "shift"))
    for node in points:
        place = list(model.graph.node).index(node)
        made = f"{node.output[0]}_before"
        model.graph.node.insert(place + 1, helper.make_node("Add", [made, "shift"], [node.output[0]], f"{made}_add"))
        node.output[0] = made
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(GraphError):
        open_network(tmp_path / "other.onnx", imgsz=(64, 96))


def onnx_shape(model: onnx.ModelProto, name: str) -> tuple[int, ...]:
    """Shape of a tensor of a stored graph."""
    inferred = onnx.shape_inference.infer_shapes(model)
    shape = next(info.type.tensor_type.shape for info in inferred.graph.value_info if info.name == name)
    return tuple(dim.dim_value for dim in shape.dim)


def test_what_boxes_and_scores_leave() -> None:
    """Of 14 channels the last 10; of a convolution of its own all; a spare class is not counted."""
    convs = [HeadConv(name, name, (1, channels, 2, 3), 8) for name, channels in (("a", 14), ("b", 4), ("c", 2))]
    (level,) = levels_of(convs)
    assert left_parts(level, [ConvPart(0, 0, 4), ConvPart(2, 0, 1)]) == (ConvPart(0, 4, 10), ConvPart(1, 0, 4))
    assert left_parts(level, [ConvPart(0, 0, 14), ConvPart(1, 0, 4), ConvPart(2, 0, 2)]) == ()
