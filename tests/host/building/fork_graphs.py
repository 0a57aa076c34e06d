"""ONNX files as Rockchip's forks of the trainers write them, made from our own export of a checkpoint.

The forms are those of airockchip/ultralytics_yolov8 (September 2024), its siblings for YOLO11 and YOLOv10, and
airockchip/yolov5: raw boxes, sigmoid of the scores, their sum clipped to 1; one concatenated map per level for pose and
rotated boxes; keypoints decoded in the graph.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.building.from_checkpoint import with_taps
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.head import Tap


def exported(checkpoint: Path, hw: tuple[int, int], *, end_to_end: bool | None = None) -> Exported:
    """Our own graph of a checkpoint, whose taps are tensors.

    Args:
        end_to_end: the head to take from a checkpoint with two.
    """
    read = read_checkpoint(checkpoint)
    family = family_of(read)
    info = family.describe(read)
    if end_to_end is not None:
        info = replace(info, end_to_end=end_to_end)
    return family.export(read, info, *hw)


class ForkGraph:
    """A graph that gets other outputs, one at a time, with names that say nothing."""

    def __init__(self, source: Exported) -> None:
        self.head, self.model = source.head, onnx.ModelProto()
        self.model.CopyFrom(with_taps(source))
        del self.model.graph.output[:]
        del self.model.metadata_props[:]

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A further node; returns its output."""
        name = f"fork_{len(self.model.graph.node)}"
        self.model.graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: ArrayLike) -> str:
        """A further constant."""
        name = f"fork_constant_{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def show(self, *tensors: str) -> None:
        """Make tensors outputs, in this order."""
        for tensor in tensors:
            self.model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))

    def levels(self) -> list[list[Tap]]:
        """The taps of each level."""
        taps = [tap for tap in self.head.taps if not tap.name]
        return [[tap for tap in taps if tap.level == level] for level in sorted({tap.level for tap in taps})]

    def clipped_sum(self, tensor: str) -> str:
        """The sum over the channels, from 0 to 1."""
        total = self.node("ReduceSum", tensor, self.constant(np.array([1])), keepdims=1)
        return self.node("Clip", total, self.constant(np.float32(0)), self.constant(np.float32(1)))

    def flat(self, taps: list[str], channels: int) -> str:
        """Maps of all levels with their cells side by side, (1, channels, cells)."""
        shape = self.constant(np.array([1, channels, -1]))
        return self.node("Concat", *(self.node("Reshape", tap, shape) for tap in taps), axis=2)

    def save(self, path: Path) -> Path:
        """Write it."""
        onnx.save(onnx.shape_inference.infer_shapes(self.model, data_prop=True), path)
        return path


def separate(source: Exported, *, sums: bool, scores_first: bool = False) -> ForkGraph:
    """Detection and segmentation: boxes, scores[, their sum][, coefficients] of each level, then the prototypes."""
    graph = ForkGraph(source)
    for boxes, scores, *rest in graph.levels():
        shown = [boxes.tensor, graph.node("Sigmoid", scores.tensor)]
        if scores_first:
            shown.reverse()
        if sums:
            shown.append(graph.clipped_sum(shown[0 if scores_first else 1]))
        graph.show(*shown, *(tap.tensor for tap in rest))
    graph.show(*(tap.tensor for tap in graph.head.taps if tap.name))
    return graph


def concatenated(source: Exported) -> ForkGraph:
    """Pose and rotated boxes: boxes and raw scores of each level in one map, then what else there is of all cells."""
    graph = ForkGraph(source)
    levels = graph.levels()
    for boxes, scores, _ in levels:
        graph.show(graph.node("Concat", boxes.tensor, scores.tensor, axis=1))
    extra = [level[2] for level in levels]
    flat = graph.flat([tap.tensor for tap in extra], extra[0].shape[1])
    if source.head.angle is not None:
        graph.show(graph.node("Sigmoid", flat) if source.head.angle.sigmoid else flat)
        return graph
    layout = source.head.keypoints
    assert layout is not None
    dimensions = 3 if layout.scored else 2
    points = graph.node("Reshape", flat, graph.constant(np.array([1, layout.count, dimensions, -1])))
    grids = [np.indices(tap.shape[2:])[::-1].reshape(2, -1) for tap in extra]
    cells = np.concatenate(grids, axis=1).astype(np.float32) + np.float32(layout.offset)
    strides = np.concatenate([np.full(grid.shape[1], tap.stride) for grid, tap in zip(grids, extra, strict=True)])

    def part(start: int, end: int) -> str:
        return graph.node("Slice", points, *(graph.constant(np.array([n])) for n in (start, end, 2)))

    xy = graph.node("Mul", part(0, 2), graph.constant(np.float32(layout.gain)))
    xy = graph.node("Mul", graph.node("Add", xy, graph.constant(cells)), graph.constant(strides.astype(np.float32)))
    graph.show(graph.node("Concat", xy, graph.node("Sigmoid", part(2, 3)), axis=2) if layout.scored else xy)
    return graph


def yolov5_segments(source: Exported, *, sigmoid: bool = True) -> ForkGraph:
    """airockchip/yolov5's -seg: each level's convolution in two, boxes with scores and coefficients; prototypes."""
    graph = ForkGraph(source)
    constants = {c.name: numpy_helper.to_array(c) for c in graph.model.graph.initializer}
    producers = {name: node for node in graph.model.graph.node for name in node.output}
    scored = 5 + source.head.classes
    for (tap,) in graph.levels():
        node = producers[tap.tensor]
        channels = np.arange(tap.shape[1]).reshape(source.head.anchors_per_level, -1)
        for part, activated in ((channels[:, :scored], sigmoid), (channels[:, scored:], False)):
            weights = [graph.constant(constants[name][part.ravel()]) for name in node.input[1:]]
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            shown = graph.node("Conv", node.input[0], *weights, **attributes)
            graph.show(graph.node("Sigmoid", shown) if activated else shown)
    graph.show(*(tap.tensor for tap in graph.head.taps if tap.name))
    return graph


def anchor_maps(source: Exported) -> ForkGraph:
    """airockchip/yolov5 and yolov7: the sigmoid of each level's last convolution."""
    graph = ForkGraph(source)
    graph.show(*(graph.node("Sigmoid", tap.tensor) for (tap,) in graph.levels()))
    return graph


def center_maps(source: Exported) -> ForkGraph:
    """airockchip/YOLOX: boxes, the sigmoid of objectness and that of scores of each level in one map."""
    graph = ForkGraph(source)
    for boxes, scores, objectness in graph.levels():
        activated = (graph.node("Sigmoid", tap.tensor) for tap in (objectness, scores))
        graph.show(graph.node("Concat", boxes.tensor, *activated, axis=1))
    return graph
