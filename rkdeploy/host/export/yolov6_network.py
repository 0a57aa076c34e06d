"""Backbone, neck and head of YOLOv6 as nodes, by the names of their modules.

Source: yolov6/models/efficientrep.py, reppan.py and effidehead.py of meituan/YOLOv6.  All necks have one form, whatever
their class: down from the coarsest features to the finest, and up again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.emission import Emission, child, emit
from rkdeploy.host.export.layer_list import blamed
from rkdeploy.host.export.point_heads import PointMaps

TRAINING_ONLY = ("cls_preds_ab", "reg_preds_ab", "seg_preds_ab", "reg_preds_dist")
"""Parts of a head that inference does not read: anchors next to it (fuse_ab), and distillation's."""


def emit_backbone(emission: Emission, module: Module, image: Value) -> list[Value]:
    """Features of every stage, finest first."""
    value, features = image, []
    for step in module.children.values():
        with blamed(f'Layer "{step.path}" ({step.class_name})'):
            value = emit(emission, step, [value])
        features.append(value)
    return features[1:]  # behind the stem


def emit_neck(emission: Emission, module: Module, features: Sequence[Value]) -> list[Value]:
    """One tensor per level, finest first.

    Raises:
        GraphError: when there are fewer features than the neck joins.
    """
    with blamed(f'Neck "{module.path}" ({module.class_name})'):
        if "Csp_p4" in module.children:
            return _lite_neck(emission, module, features)
        return _neck(emission, module, features)


def _neck(emission: Emission, module: Module, features: Sequence[Value]) -> list[Value]:
    """RepPANNeck, RepBiFPANNeck and their forms with CSP blocks and with P6."""
    steps = sum(name.startswith("Rep_p") for name in module.children)
    fused = "Bifusion0" in module.children
    if len(features) < steps + 1 + fused:
        raise GraphError(f'"{module.path}" joins {steps + 1 + fused} stages, but the backbone has {len(features)}.')
    value, laterals = features[-1], []
    for i in range(steps):
        laterals.append(child(emission, module, f"reduce_layer{i}", value))
        if fused:
            value = child(emission, module, f"Bifusion{i}", laterals[-1], features[-2 - i], features[-3 - i])
        else:
            raised = child(emission, module, f"upsample{i}", laterals[-1])
            value = emission.builder.concat(module.path, [raised, features[-2 - i]], 1)
        value = child(emission, module, f"Rep_p{steps + 2 - i}", value)
    levels = [value]
    for i in range(steps):
        lowered = child(emission, module, f"downsample{2 - i}", value)
        value = emission.builder.concat(module.path, [lowered, laterals[-1 - i]], 1)
        value = child(emission, module, f"Rep_n{steps + 1 + i}", value)
        levels.append(value)
    return levels


def _lite_neck(emission: Emission, module: Module, features: Sequence[Value]) -> list[Value]:
    """Lite_EffiNeck: four levels of three stages."""
    builder, path = emission.builder, module.path
    coarse, middle, fine = (child(emission, module, f"reduce_layer{i}", features[-1 - i]) for i in range(3))
    raised = child(emission, module, "upsample0", coarse)
    p4 = child(emission, module, "Csp_p4", builder.concat(path, [raised, middle], 1))
    raised = child(emission, module, "upsample1", p4)
    p3 = child(emission, module, "Csp_p3", builder.concat(path, [raised, fine], 1))
    n4 = child(emission, module, "Csp_n3", builder.concat(path, [child(emission, module, "downsample2", p3), p4], 1))
    lowered = child(emission, module, "downsample1", n4)
    n5 = child(emission, module, "Csp_n4", builder.concat(path, [lowered, coarse], 1))
    top = (child(emission, module, "p6_conv_1", coarse), child(emission, module, "p6_conv_2", n5))
    return [p3, n4, n5, builder.elementwise("Add", path, *top)]


def emit_head(
    emission: Emission, module: Module, features: Sequence[Value], strides: Sequence[int], landmarks: int = 0
) -> list[PointMaps]:
    """Raw boxes and scores of every level, and mask coefficients (yolov6-seg) or landmarks (yolov6-face).

    Args:
        emission: the graph.
        module: the head.
        features: one tensor per level, finest first.
        strides: input pixels per cell of each level.
        landmarks: points per object in the last channels of the boxes' convolutions.

    Raises:
        GraphError: when the head reads another number of levels, or its distances are not counted 0, 1, 2, ...
    """
    if len(features) != len(strides):
        raise GraphError(f'"{module.path}" has {len(strides)} levels, the neck gives {len(features)}.')
    _require_projection(module)
    levels = []
    for number, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        with blamed(f'Level {number} of "{module.path}"'):
            parts = {name: module.child(name).child(str(number)) for name in HEAD_PARTS}
            value = emit(emission, parts["stems"], [feature])
            scores, boxes = (emit(emission, parts[f"{kind}_convs"], [value]) for kind in ("cls", "reg"))
            sides, points = _boxes_and_landmarks(emission, parts["reg_preds"], boxes, landmarks)
            levels.append(
                PointMaps(
                    f"{module.path}.{number}",
                    stride,
                    boxes=sides,
                    scores=emit(emission, parts["cls_preds"], [scores]),
                    extra=_coefficients(emission, module, number, value) if points is None else points,
                )
            )
    return levels


HEAD_PARTS = ("stems", "cls_convs", "reg_convs", "cls_preds", "reg_preds")
"""Modules of the head; each has one part per level."""


def _boxes_and_landmarks(emission: Emission, conv: Module, value: Value, landmarks: int) -> tuple[Value, Value | None]:
    """Raw boxes, and x and y of the landmarks: two convolutions, since a tensor has one quantization scale."""
    if not landmarks:
        return emit(emission, conv, [value]), None
    weight = conv.array("weight")
    bias = conv.array("bias").astype(np.float64)
    end = len(weight) - 2 * landmarks
    boxes, points = (
        convolution(emission.builder, conv, value, weight=weight[part], bias=bias[part])
        for part in (slice(0, end), slice(end, None))
    )
    return boxes, points


def _coefficients(emission: Emission, module: Module, number: int, value: Value) -> Value | None:
    """Mask coefficients of a level; None for a head without masks."""
    if "seg_preds" not in module.children:
        return None
    inner = emit(emission, module.child("seg_convs").child(str(number)), [value])
    return emit(emission, module.child("seg_preds").child(str(number)), [inner])


def _require_projection(module: Module) -> None:
    """Check the distances that a distribution's bins stand for, which a file stores next to the head.

    Raises:
        GraphError: when they are not 0, 1, 2, ...
    """
    stored = [module.array("proj")] if "proj" in module.tensors else []
    if "proj_conv" in module.children:
        stored.append(module.child("proj_conv").array("weight"))
    for values in stored:
        if not np.array_equal(values.ravel(), np.arange(values.size)):
            raise GraphError(f'"{module.path}" has bins that do not stand for 0, 1, 2, ... cells.')
