"""YOLOP: traffic objects, drivable area and lane lines from one network.  Recognized, described, exported.

The published `End-to-end.pth` is a state dict; `yolop_layers` makes a network of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError, GraphError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.checkpoint_facts import anchors_of, onnx_metadata, training_facts
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.yolop_layers import DETECT, LAYERS, MASK_HEADS, typed_layers

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolop"
CLASS_MAPS = {
    "drive_area_seg": ClassMapSpec("drivable_area", ("background", "drivable area")),
    "lane_line_seg": ClassMapSpec("lane_line", ("background", "lane line")),
}
"""By the name of the output in upstream's export_onnx.py."""
DETECTIONS = "det_out"
"""Upstream's name of the decoded rows."""
_ONLY_CLASS = "vehicle"  # the published model's only class: cars, trucks, buses and trains together


def recognize(checkpoint: Checkpoint) -> bool:
    """True for YOLOP's state dict: an anchor head in the middle of a layer list, and both mask heads behind it."""
    model = checkpoint.root.children.get("model")
    if not checkpoint.is_state_dict or model is None:
        return False
    head = model.children.get(str(DETECT.number))
    ends = {str(layers[-1].number) for layers in MASK_HEADS}
    return head is not None and "anchors" in head.tensors and ends <= model.children.keys()


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of this architecture.
    """
    *layers, head = typed_layers(checkpoint.root)
    by_number = dict(zip((layer.number for layer in LAYERS), layers, strict=True))
    anchors = anchors_of(head)
    classes = _classes(head, anchors.per_level)
    for (name, found), mask in zip(CLASS_MAPS.items(), MASK_HEADS, strict=True):
        last = by_number[mask[-1].number]
        planes, expected = weight_shape(last.child("conv"))[0], len(found.class_names)
        if planes != expected:
            raise CheckpointError(f'"{last.path}" ({name}) gives {planes} planes, expected {expected}.')
    return ModelInfo(
        family=NAME,
        generation="panoptic driving: detection, drivable area, lane lines",
        task="detect",
        class_names=(_ONLY_CLASS,) if classes == 1 else tuple(f"class_{i}" for i in range(classes)),
        strides=_strides(head),
        anchors=anchors,
        anchor_comparison=compare_anchors(anchors, NAME),
        activation=("Hardswish", "LeakyReLU"),
        blocks=tuple(Counter(layer.block for layer in (*LAYERS, DETECT)).most_common()),
        training=training_facts(checkpoint),
        class_maps=tuple(found.output for found in CLASS_MAPS.values()),
        has_class_names=classes == 1,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width), RGB normalized by ImageNet's mean and deviation.

    Outputs as in upstream's export_onnx.py: `det_out` (1, rows, 5 + nc) with x, y, w, h in input pixels;
    `drive_area_seg` and `lane_line_seg` (1, 2, height, width), a sigmoid per plane, of which upstream takes the larger.

    The class maps' taps lie between the last Hardswish and that sigmoid.  Without the sigmoid the larger plane stays
    the larger; the sigmoid would compress all values into 0.41..1, where 8 bits no longer separate strong scores.  The
    Hardswish stays in the network because it is not monotonic: below -1.5 it rises again to 0, so the planes' order
    before
    it is not the trained order.  It also keeps the negative half of the range from taking quantization steps: of
    the three possible places this one lost the fewest pixels in INT8 (simulated).

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from dataclasses import replace

    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.heads import AnchorLayout, anchor_detect, four
    from rkdeploy.host.export.layer_list import emit_outputs, finish, layer_sources
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
    from rkdeploy.host.graph.head import DecodedTensor, Tap

    assert info.anchors is not None
    layers = typed_layers(checkpoint.root)
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS, stem)
    outputs = emit_outputs(emission, layers[:-1], builder.input("images", (1, 3, height, width)))
    features = [outputs[source] for source in layer_sources(layers[-1], len(outputs))]
    layout = AnchorLayout(info.anchors, info.strides, len(info.class_names), output=DETECTIONS)
    rows, head = anchor_detect(builder, layers[-1], features, layout)
    ends = {DETECTIONS: rows}
    position = {layer.number: index for index, layer in enumerate(LAYERS)}
    for (name, found), mask in zip(CLASS_MAPS.items(), MASK_HEADS, strict=True):
        value = outputs[position[mask[-1].number]]
        if value.shape[2:] != (height, width):
            raise GraphError(f'"model.{mask[-1].number}" gives {value.shape}, expected planes of {height}x{width}.')
        path = f"model.{mask[-1].number}"
        ends[name] = builder.add("Sigmoid", path, [value], value.shape)
        head = replace(
            head,
            taps=(*head.taps, Tap(path, value.name, "class_map", four(value), 1, name=found.output)),
            tensors=(*head.tensors, DecodedTensor(found.output, name, "sigmoid")),
            class_maps=(*head.class_maps, found),
        )
    image = InputSpec("images", height, width, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return finish(builder, [checkpoint.root], ends, head, image, onnx_metadata(info))


def _classes(head: Module, per_level: int) -> int:
    """Number of classes from the channels of the head's convolutions, anchors x (5 + classes) on every level."""
    channels = {weight_shape(conv)[0] for conv in head.child("m").children.values()}
    fields, rest = divmod(min(channels, default=0), per_level)
    if len(channels) != 1 or rest or fields < 6:
        raise CheckpointError(
            f'"{head.path}" gives {", ".join(str(n) for n in sorted(channels)) or "no"} channels, expected '
            f"{per_level} anchors x (5 + classes) on every level."
        )
    return fields - 5


def _strides(head: Module) -> tuple[int, ...]:
    """Pixels per cell: anchors are stored in pixels (anchor_grid) and in cells (anchors)."""
    cells = head.array("anchors")
    ratio = head.array("anchor_grid").reshape(-1)[: cells.size] / cells.reshape(-1)
    strides = tuple(8 * 2**level for level in range(len(DETECT.sources)))
    expected = np.repeat(strides, cells.size // len(cells))
    if ratio.shape != expected.shape or np.abs(ratio - expected).max() > 1e-3 * max(strides):
        raise CheckpointError(
            f'"{head.path}" has anchors in pixels and in cells that are not {", ".join(map(str, strides))} apart, the '
            "strides of this architecture."
        )
    return strides
