"""YOLOv6 of Meituan's code, 0.2.0 to 0.4.1: N to L, P6, MBLA and lite models, as trained or re-parameterized."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    class_count,
    class_names,
    onnx_metadata,
    strides_of,
    training_facts,
)
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov6"
_PACKAGE = "yolov6."
_LITE_SIZE = 320  # configs/yolov6_lite
_BLOCKS = frozenset(
    {
        *("RepVGGBlock", "QARepVGGBlock", "QARepVGGBlockV2", "RealVGGBlock", "LinearAddBlock", "BepC3", "MBLABlock"),
        *("SimSPPF", "SPPF", "SimCSPSPPF", "CSPSPPF", "BiFusion", "Transpose", "Lite_EffiBlockS1", "Lite_EffiBlockS2"),
    }
)
"""Blocks that tell the models apart."""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for a model of the package yolov6: backbone, neck and head."""
    parts = checkpoint.root.children
    return checkpoint.root.module_name.startswith(_PACKAGE) and {"backbone", "neck", "detect"} <= parts.keys()


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, or the model is of 0.1.0.
    """
    backbone, neck, head = (checkpoint.root.child(name) for name in ("backbone", "neck", "detect"))
    if "obj_preds" in head.children:
        raise CheckpointError(
            f'"{checkpoint.path.name}" is of YOLOv6 0.1.0, whose head has objectness; 0.2.0 and newer build.',
            "Train it with a newer release, or export ONNX where it was trained.",
        )
    levels = len(head.child("cls_preds").children)
    lite = "conv_0" in backbone.children
    classes = class_count(head)
    blocks = Counter(m.class_name for m in checkpoint.root.walk() if m.class_name in _BLOCKS)
    return ModelInfo(
        family=NAME,
        generation=f"{backbone.class_name}, {neck.class_name}, {_boxes(head)}",
        task="detect",
        class_names=class_names(checkpoint, classes),
        strides=strides_of(checkpoint, head, levels),
        anchors=None,
        anchor_comparison=None,
        activation=tuple(name for name, _ in activations(checkpoint.root.walk()).most_common()),
        blocks=tuple(blocks.most_common()),
        training=training_facts(checkpoint),
        has_class_names=isinstance(checkpoint.root.attribute("names"), (dict, list, tuple)),
        usual_size=_LITE_SIZE if lite else None,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, 4 + nc, rows).

    Upstream's own output has a column of ones between boxes and scores, (1, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.layer_list import finish
    from rkdeploy.host.export.point_heads import point_decode
    from rkdeploy.host.export.yolov6_blocks import YOLOV6_BLOCKS
    from rkdeploy.host.export.yolov6_network import TRAINING_ONLY, emit_backbone, emit_head, emit_neck

    builder = GraphBuilder()
    emission = Emission(builder, YOLOV6_BLOCKS, stem)
    backbone, neck, detect = (checkpoint.root.child(name) for name in ("backbone", "neck", "detect"))
    features = emit_backbone(emission, backbone, builder.input("images", (1, 3, height, width)))
    levels = emit_head(emission, detect, emit_neck(emission, neck, features), info.strides)
    output, head = point_decode(builder, detect.path, levels)
    image = InputSpec("images", height, width)
    parts = (backbone, neck, detect)
    return finish(builder, parts, {"output0": output}, head, image, onnx_metadata(info), TRAINING_ONLY)


def _boxes(head: Module) -> str:
    """The form of the boxes, in a few words."""
    return "distributions" if head.attribute("use_dfl") else "distances"
