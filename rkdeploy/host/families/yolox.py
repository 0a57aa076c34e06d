"""YOLOX of Megvii's code: Nano to X.  Recognized, described, exported.

Its `.pth` is a state dict; `yolox_layers` makes a network of it.  How its images are prepared is not in the file: the
release decides, and `--preset` says it (`rkdeploy.host.building.presets`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.typed_modules import numbered, weight_shape
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.yolox_layers import (
    HEAD_PARTS,
    HEAD_SOURCES,
    STRIDES,
    activation,
    is_depthwise,
    module_at,
    typed_head,
    typed_layers,
)

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolox"
_RELEASED = {
    (1, 0.25): "Nano",
    (1, 0.375): "Tiny",
    (1, 0.5): "S",
    (2, 0.75): "M",
    (3, 1.0): "L",
    (4, 1.25): "X",
}
"""Published models by their bottlenecks and width."""
_ACTIVATION_ASSUMED = (
    "The weights do not say their activation; SiLU, that of every released YOLOX, is assumed. If it was trained with "
    "relu or lrelu, export ONNX where it was trained and build from that."
)
_SMALL = (0.25, 0.375)
_SIZES = (416, 640)
"""Input sizes of the published models of these widths, and of the others (exps/default)."""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for YOLOX: the six lists of its head."""
    head = checkpoint.root.children.get("head")
    return head is not None and set(HEAD_PARTS) <= head.children.keys() and "backbone" in checkpoint.root.children


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of this architecture.
    """
    root = checkpoint.root
    layers, head = typed_layers(root), typed_head(root)
    classes = {weight_shape(level.scores)[0] for level in head}
    if len(classes) != 1:
        raise CheckpointError(f'"head.cls_preds" has {sorted(classes)} classes on its levels, expected one number.')
    width = weight_shape(layers[0].child("conv").child("conv"))[0] / 64
    depth = len(numbered(module_at(root, "backbone.backbone.dark2.1.m")))
    released = _RELEASED.get((depth, width), "of another size")
    kind = " with depthwise convolutions" if is_depthwise(root) else ""
    return ModelInfo(
        family=NAME,
        generation=f"{released} (depth {depth / 3:.2f}, width {width:g}){kind}",
        task="detect",
        class_names=tuple(f"class_{i}" for i in range(classes.pop())),
        strides=STRIDES,
        anchors=None,
        anchor_comparison=None,
        activation=(activation(root),),
        blocks=tuple(Counter(layer.class_name for layer in layers).most_common()),
        training=training_facts(checkpoint),
        has_class_names=False,
        says_images=False,
        usual_size=_SIZES[width not in _SMALL],
        notes=(_ACTIVATION_ASSUMED,) if checkpoint.is_state_dict else (),
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) to `output` (1, rows, 5 + nc).

    Columns are x, y, w, h in input pixels, objectness and classes, as with `decode_in_inference` upstream.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.center_heads import OUTPUT, CenterLevel, center_decode
    from rkdeploy.host.export.convolutions import convolution
    from rkdeploy.host.export.emission import Emission, emit
    from rkdeploy.host.export.layer_list import emit_outputs, finish
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS, stem)
    outputs = emit_outputs(emission, typed_layers(checkpoint.root), builder.input("images", (1, 3, height, width)))
    levels = []
    for level, source, stride in zip(typed_head(checkpoint.root), HEAD_SOURCES, STRIDES, strict=True):
        value = emit(emission, level.stem, [outputs[source]])
        of_classes, of_boxes = (emit(emission, convs, [value]) for convs in (level.class_convs, level.box_convs))
        levels.append(
            CenterLevel(
                level.path,
                stride,
                boxes=convolution(builder, level.boxes, of_boxes),
                objectness=convolution(builder, level.objectness, of_boxes),
                scores=convolution(builder, level.scores, of_classes),
            )
        )
    rows, head = center_decode(builder, "head", levels, NAME)
    image = InputSpec("images", height, width)
    return finish(builder, [checkpoint.root], {OUTPUT: rows}, head, image, onnx_metadata(info))
