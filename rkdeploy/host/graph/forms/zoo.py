"""Outputs as rknn_model_zoo's demos read them, by position: order, layout and activations of its exporters' forks.

Source: airockchip/rknn_model_zoo 2.3.2, examples/*/python/*.py and examples/*/cpp/postprocess.cc, `post_process`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from rkdeploy.contract.spec import HeadOutput, OutputPart
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.forms.form_graph import FormGraph
from rkdeploy.host.graph.forms.head_levels import Level, levels_of, strides_of, whole_outputs

if TYPE_CHECKING:
    import onnx

    from rkdeploy.contract.spec import ModelSpec, Task

STRIDES: Final = (8, 16, 32)
POSE_BINS: Final = 64
_POSSIBLE: Final = (
    "The zoo's demos read YOLOv5 and its seg, YOLOv6, YOLOv7, YOLOv8 and 11 with seg, pose and obb, YOLOv10, YOLOX and "
    "PP-YOLOE, with levels at strides 8, 16 and 32. Leave out --form zoo, and run the bundle with rkdeploy."
)


def zoo_cut_options(task: Task) -> CutOptions:
    """Form of the cut that the zoo's outputs are made from: its pose and obb demos compute the sigmoid themselves."""
    return CutOptions(split="none", sigmoid="none" if task in ("pose", "obb") else "all")


def zoo_form(graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, ModelSpec]:
    """The cut graph with the zoo's outputs, and the contract that describes them.

    Args:
        graph: cut with `zoo_cut_options`.
        spec: contract of that graph.

    Raises:
        GraphError: for a head that no demo of the zoo reads.
    """
    levels = levels_of(spec)
    writer = FormGraph(graph)
    roles = frozenset(levels[0]) if levels else frozenset()
    _require_readable(spec, levels)
    if "anchor_map" in roles:
        outputs = [output for level in levels for output in level.values()]
    elif "objectness" in roles:
        scored = [_with_sigmoid(writer, level, "objectness") for level in levels]
        outputs = [_joined(writer, level, ("center_boxes", "objectness", "scores")) for level in scored]
    elif spec.task == "obb":
        outputs = [_joined(writer, level, ("dfl_boxes", "scores")) for level in levels]
        outputs.append(_angles(writer, levels))
    elif spec.task == "pose":
        outputs = [_joined(writer, level, ("dfl_boxes", "scores")) for level in levels]
        outputs.append(_keypoints(writer, levels, spec))
    else:
        outputs = [output for level in levels for output in _scored(writer, level)]
    outputs += whole_outputs(spec)
    keypoints = replace(spec.keypoints, unit="pixels") if spec.keypoints is not None else None
    return writer.finish(outputs), replace(spec, outputs=tuple(outputs), keypoints=keypoints, form="zoo")


def zoo_demo(spec: ModelSpec) -> str:
    """The zoo's example that reads a contract in its form."""
    masks = any(output.role == "prototypes" for output in spec.outputs)
    if spec.anchors is not None:
        return "yolov5_seg" if masks else "yolov7" if spec.family == "yolov7" else "yolov5"
    if masks or spec.task in ("pose", "obb"):
        return {"obb": "yolov8_obb", "pose": "yolov8_pose"}.get(spec.task, "yolov8_seg")
    if spec.outputs[0].role == "joined":
        return "yolox"
    if spec.end_to_end:
        return "yolov10"
    if spec.family == "yolov6":
        return "yolov6"
    return {64: "yolov8 or yolo11", 68: "ppyoloe"}.get(spec.outputs[0].shape[1], "yolov6")


def _require_readable(spec: ModelSpec, levels: tuple[Level, ...]) -> None:
    """Check that the head is one that a demo reads.

    Raises:
        GraphError: naming what does not fit.
    """
    found = {frozenset(level) for level in levels}
    kind = _KINDS.get(next(iter(found))) if len(found) == 1 else None
    if kind is None or kind != spec.task or (spec.task == "segment") != bool(whole_outputs(spec)):
        roles = ", ".join(sorted({role for level in levels for role in level})) or spec.task
        raise GraphError(f"No demo of rknn_model_zoo reads a head of {roles}.", _POSSIBLE)
    bins = levels[0].get("dfl_boxes")
    if spec.task in ("pose", "obb") and (bins is None or bins.shape[1] != POSE_BINS):
        raise GraphError(f"The zoo's {spec.task} demo reads {POSE_BINS} logits of boxes per cell.", _POSSIBLE)
    strides = strides_of(levels)
    if strides != STRIDES:
        listed = ", ".join(map(str, strides))
        raise GraphError(f"The head has levels at strides {listed}, expected 8, 16 and 32 for --form zoo.", _POSSIBLE)
    usual = spec.points is None or (
        (spec.points.per_cell, spec.points.distance, spec.points.score) == (1, "linear", "product")
        and spec.points.offset == (0.0 if "objectness" in levels[0] else 0.5)
    )
    if not usual or spec.anchor_formula is not None or (spec.anchors is not None and spec.keypoints is not None):
        raise GraphError(f"No demo of rknn_model_zoo has the formulas of this {spec.family} head.", _POSSIBLE)
    if spec.keypoints is not None and not spec.keypoints.scored:
        raise GraphError(
            "The zoo's pose demo reads a score with each keypoint, which this model does not give.", _POSSIBLE
        )


_KINDS: Final[Mapping[frozenset[str], str]] = {
    frozenset({"anchor_map"}): "detect",
    frozenset({"anchor_map", "anchor_coefficients"}): "segment",
    frozenset({"center_boxes", "objectness", "scores"}): "detect",
    frozenset({"dfl_boxes", "scores"}): "detect",
    frozenset({"ltrb_boxes", "scores"}): "detect",
    frozenset({"dfl_boxes", "scores", "mask_coefficients"}): "segment",
    frozenset({"dfl_boxes", "scores", "angles"}): "obb",
    frozenset({"dfl_boxes", "scores", "keypoint_xy", "keypoint_scores"}): "pose",
}
"""Tasks of the heads that a demo reads, by the roles of a level."""


def _scored(writer: FormGraph, level: Level) -> list[HeadOutput]:
    """Boxes, scores, their sum, and mask coefficients if there are any."""
    boxes = level.get("dfl_boxes") or level["ltrb_boxes"]
    scores = level["scores"]
    name = f"stride{scores.stride}_score_sum"
    total = writer.sum(scores.name, axis=1)
    writer.node("Clip", [total, writer.constant(0.0), writer.constant(1.0)], name)
    summed = replace(scores, name=name, role="score_sum", shape=(1, 1, *scores.shape[2:]))
    return [boxes, scores, summed, *(level[role] for role in ("mask_coefficients",) if role in level)]


def _with_sigmoid(writer: FormGraph, level: Level, role: str) -> Level:
    """The level with one output behind its sigmoid."""
    output = level[role]
    if output.activation == "sigmoid":
        return level
    return {**level, role: replace(output, name=writer.node("Sigmoid", [output.name]), activation="sigmoid")}


def _joined(writer: FormGraph, level: Level, roles: tuple[str, ...]) -> HeadOutput:
    """One tensor of several quantities, in the order of the roles."""
    outputs = [level[role] for role in roles]
    parts, start = [], 0
    for output in outputs:
        end = start + output.shape[1]
        parts.append(OutputPart(output.role, tuple(range(start, end)), output.activation))
        start = end
    first = outputs[0]
    name = writer.node("Concat", [output.name for output in outputs], f"stride{first.stride}_joined", axis=1)
    shape = (1, start, *first.shape[2:])
    return replace(first, name=name, role="joined", shape=shape, activation="linear", parts=tuple(parts))


def _angles(writer: FormGraph, levels: tuple[Level, ...]) -> HeadOutput:
    """The angles of all levels behind their sigmoid, (1, 1, N)."""
    angles = [level["angles"] for level in levels]
    flat = [writer.reshape(angle.name, (1, 1, angle.shape[2] * angle.shape[3])) for angle in angles]
    cells = sum(angle.shape[2] * angle.shape[3] for angle in angles)
    name = writer.node("Sigmoid", [writer.node("Concat", flat, axis=2)], "angles")
    return replace(angles[0], name=name, shape=(1, 1, cells), activation="sigmoid", level_strides=strides_of(levels))


def _keypoints(writer: FormGraph, levels: tuple[Level, ...], spec: ModelSpec) -> HeadOutput:
    """The decoded keypoints of all levels, (1, K, 3, N): x and y in pixels of the input, and the score."""
    layout = spec.keypoints
    assert layout is not None
    count = layout.count
    places, scores, grids = [], [], []
    for level in levels:
        xy = level["keypoint_xy"]
        height, width = xy.shape[2:]
        places.append(writer.reshape(xy.name, (1, count, 2, height * width)))
        scores.append(writer.reshape(level["keypoint_scores"].name, (1, count, 1, height * width)))
        y, x = np.indices((height, width)).reshape(2, -1)
        grids.append(np.stack((x, y, np.full_like(x, xy.stride))))
    grid = np.concatenate(grids, axis=1).astype(np.float32)
    scaled = writer.node("Mul", [writer.node("Concat", places, axis=3), writer.constant(float(layout.gain))])
    moved = writer.node("Add", [scaled, writer.constant((grid[:2] + np.float32(layout.offset))[None, None])])
    pixels = writer.node("Mul", [moved, writer.constant(grid[2][None, None, None])])
    visible = writer.node("Sigmoid", [writer.node("Concat", scores, axis=3)])
    name = writer.node("Concat", [pixels, visible], "keypoints", axis=2)
    starts = range(0, 3 * count, 3)
    parts = (
        OutputPart("keypoint_xy", tuple(start + i for start in starts for i in (0, 1))),
        OutputPart("keypoint_scores", tuple(start + 2 for start in starts), "sigmoid"),
    )
    first = levels[0]["keypoint_xy"]
    shape = (1, count, 3, grid.shape[1])
    return replace(first, name=name, role="joined", shape=shape, parts=parts, level_strides=strides_of(levels))
