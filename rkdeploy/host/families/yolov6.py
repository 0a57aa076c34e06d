"""YOLOv6 of Meituan's code, 0.2.0 to 0.4.1: N to L, P6, MBLA and lite models, as trained or re-parameterized; of its
branches yolov6-seg the models with masks and of yolov6-face those with landmarks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    class_count,
    class_names,
    mask_count,
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
_LITE_SIZE, _LITE_FACE_SIZE = 320, 416  # configs/yolov6_lite, and the table of yolov6-face's README
_PROTOTYPES = "seg_proto"
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
    masks, landmarks = _mask_count(head), _landmark_count(head)
    task: Task = "segment" if masks else "pose" if landmarks else "detect"
    classes = class_count(head)
    blocks = Counter(m.class_name for m in checkpoint.root.walk() if m.class_name in _BLOCKS)
    return ModelInfo(
        family=NAME,
        generation=f"{backbone.class_name}, {neck.class_name}, {_boxes(head)}",
        task=task,
        class_names=class_names(checkpoint, classes),
        strides=strides_of(checkpoint, head, levels),
        anchors=None,
        anchor_comparison=None,
        activation=tuple(name for name, _ in activations(checkpoint.root.walk()).most_common()),
        blocks=tuple(blocks.most_common()),
        training=training_facts(checkpoint),
        has_class_names=isinstance(checkpoint.root.attribute("names"), (dict, list, tuple)),
        masks=masks,
        keypoints=KeypointLayout(landmarks, scored=False, gain=1.0, offset=0.5) if landmarks else None,
        usual_size=(_LITE_FACE_SIZE if landmarks else _LITE_SIZE) if lite else None,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, 4 + nc + extra, rows).

    Upstream's own output has a column of ones between boxes and scores, (1, rows, 5 + nc), and landmarks before it;
    coefficients of masks are an output of their own there.  Prototypes are `output1`.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.layer_list import finish
    from rkdeploy.host.export.point_heads import point_decode
    from rkdeploy.host.export.prototypes import PROTO_BLOCKS, with_prototypes
    from rkdeploy.host.export.yolov6_blocks import YOLOV6_BLOCKS
    from rkdeploy.host.export.yolov6_network import TRAINING_ONLY, emit_backbone, emit_head, emit_neck

    builder = GraphBuilder()
    emission = Emission(builder, YOLOV6_BLOCKS | PROTO_BLOCKS, stem)
    backbone, neck, detect = (checkpoint.root.child(name) for name in ("backbone", "neck", "detect"))
    features = emit_backbone(emission, backbone, builder.input("images", (1, 3, height, width)))
    fused = emit_neck(emission, neck, features)
    landmarks = info.keypoints.count if info.keypoints is not None else 0
    levels = emit_head(emission, detect, fused, info.strides, landmarks)
    output, head = point_decode(builder, detect.path, levels, keypoints=info.keypoints, masks=info.masks)
    outputs = {"output0": output}
    if info.masks:
        proto = detect.child(_PROTOTYPES).child("0")
        outputs["output1"], head = with_prototypes(emission, proto, fused[0], head, height)
    image = InputSpec("images", height, width)
    return finish(builder, (backbone, neck, detect), outputs, head, image, onnx_metadata(info), TRAINING_ONLY)


def _boxes(head: Module) -> str:
    """The form of the boxes, in a few words."""
    return "distributions" if head.attribute("use_dfl") else "distances"


def _mask_count(head: Module) -> int:
    """Mask coefficients per object, 0 without masks.

    Raises:
        CheckpointError: for the branch's experiments with SOLO, whose masks are convolutions of each object's own.
    """
    if _PROTOTYPES not in head.children:
        return 0
    if len(head.child(_PROTOTYPES).children) != 1:
        raise CheckpointError(
            f'"{head.path}" has {len(head.child(_PROTOTYPES).children)} sets of prototypes (configs/exp/*_solo.py), '
            "expected one.",
            "The models of configs/yolov6*_seg.py build.",
        )
    return mask_count(head)


def _landmark_count(head: Module) -> int:
    """Landmarks per object: the channels of the boxes' convolutions beyond the boxes, in pairs."""
    last_bin = head.attribute("reg_max")
    bins = last_bin + 1 if head.attribute("use_dfl") and type(last_bin) is int else 1
    channels = weight_shape(head.child("reg_preds").child("0"))[0]
    beyond = channels - 4 * bins
    return beyond // 2 if beyond > 0 and beyond % 2 == 0 else 0
