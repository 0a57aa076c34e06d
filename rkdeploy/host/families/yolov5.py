"""YOLOv5, v2.0 to v7.0: detection, segmentation and classification.  Recognized, described, exported."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    anchors_of,
    class_count,
    class_names,
    classifier_classes,
    head_of,
    layers_of,
    mask_count,
    onnx_metadata,
    strides_of,
    training_facts,
)
from rkdeploy.host.families.checkpoint_kinds import input_channels
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov5"


def recognize(checkpoint: Checkpoint) -> bool:
    """True for YOLOv5: a layer list that ends in an anchor head, or in the classifier of its own code."""
    head = head_of(checkpoint)
    if head is None:
        return False
    if head.class_name == "Classify":
        return head.module_name.startswith("models.")
    return head.class_name in {"Detect", "Segment"} and "anchors" in head.tensors and "m" in head.children


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = layers_of(checkpoint)
    head = layers[-1]
    blocks = Counter(m.class_name for m in layers)
    active = activations(checkpoint.root.walk())
    task = _task(head)
    anchors = None if task == "classify" else anchors_of(head)
    return ModelInfo(
        family=NAME,
        generation=_generation(checkpoint, blocks, active),
        task=task,
        class_names=class_names(checkpoint, (classifier_classes(head) if task == "classify" else class_count(head))),
        strides=strides_of(checkpoint, head, len(anchors.levels_px)) if anchors is not None else (),
        anchors=anchors,
        anchor_comparison=compare_anchors(anchors, NAME) if anchors is not None else None,
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(blocks.most_common()),
        training=training_facts(checkpoint),
        masks=mask_count(head) if task == "segment" else 0,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0`, as in upstream's export.

    `output0` is (1, rows, 5 + nc) for detection; (1, rows, 5 + nc + nm), with the prototypes (1, nm, H, W) in
    `output1`, for segmentation; (1, nc) logits for a classifier.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.classifier import classify
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.heads import AnchorLayout, anchor_detect
    from rkdeploy.host.export.layer_list import blamed, emit_image, emit_layers, finish
    from rkdeploy.host.export.prototypes import PROTO_BLOCKS, with_prototypes
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    layers = layers_of(checkpoint)
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS | PROTO_BLOCKS, stem)
    features = emit_layers(emission, layers, emit_image(builder, input_channels(checkpoint), height, width))
    if info.anchors is None:
        with blamed(f'Head "{layers[-1].path}"'):
            output, head = classify(emission, layers[-1], features, height, "linear")
        image = InputSpec("images", height, width, mean=IMAGENET_MEAN, std=IMAGENET_STD, fit="center_crop")
        return finish(builder, layers, {"output0": output}, head, image, onnx_metadata(info))
    with blamed(f'Head "{layers[-1].path}"'):
        layout = AnchorLayout(info.anchors, info.strides, len(info.class_names), info.masks)
        output, head = anchor_detect(builder, layers[-1], features, layout)
        outputs = {"output0": output}
        if info.masks:
            outputs["output1"], head = with_prototypes(emission, layers[-1].child("proto"), features[0], head, height)
    return finish(builder, layers, outputs, head, InputSpec("images", height, width), onnx_metadata(info))


def _task(head: Module) -> Task:
    tasks: dict[str, Task] = {"Detect": "detect", "Segment": "segment", "Classify": "classify"}
    return tasks[head.class_name]


def _generation(checkpoint: Checkpoint, blocks: Counter[str], active: Counter[str]) -> str:
    """The releases whose code writes such a model, by its blocks: a checkpoint does not store its release."""
    if "Focus" not in blocks and "SPPF" in blocks:
        return "v6.0 to v7.0 (6x6 stem, SPPF)"
    if "Classify" in blocks:
        return "v6.2 to v7.0 (classifier)"
    if "Focus" in blocks and "BottleneckCSP" in blocks:
        return "v3.x or older (Focus, BottleneckCSP)"
    if "Focus" in blocks and active.get("Hardswish"):
        return "v3.x (Focus, Hardswish)"
    if "Focus" in blocks:
        return "v4.0 to v5.0 (Focus, C3)"
    return f"v2.0 to v7.0, own architecture ({checkpoint.root.class_name})"
