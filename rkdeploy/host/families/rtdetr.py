"""RT-DETR of the ultralytics package: recognized, described, exported."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    class_count,
    class_names,
    head_of,
    layers_of,
    onnx_metadata,
    strides_of,
    training_facts,
)
from rkdeploy.host.families.checkpoint_kinds import input_channels
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.ultralytics import generation_of

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "rtdetr"


def recognize(checkpoint: Checkpoint) -> bool:
    """True for a layer list that ends in RT-DETR's decoder."""
    head = head_of(checkpoint)
    return head is not None and head.class_name == "RTDETRDecoder"


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    The package stores one stride for such models, 32: the input's size must be a multiple of it.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = layers_of(checkpoint)
    head = layers[-1]
    return ModelInfo(
        family=NAME,
        generation=generation_of(checkpoint, head),
        task="detect",
        class_names=class_names(checkpoint, class_count(head)),
        strides=strides_of(checkpoint, head, 1),
        anchors=None,
        anchor_comparison=None,
        activation=tuple(name for name, _ in activations(checkpoint.root.walk()).most_common()),
        blocks=tuple(Counter(m.class_name for m in layers).most_common()),
        training=training_facts(checkpoint),
        end_to_end=True,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1, stretched, to `output0`.

    `output0` is (1, queries, 4 + nc): center and size as fractions of the input, and the classes' probabilities.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.attention_blocks import ATTENTION_BLOCKS
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.hgnet_blocks import HGNET_BLOCKS
    from rkdeploy.host.export.layer_list import blamed, emit_image, emit_layers, finish
    from rkdeploy.host.export.query_head import OPSET, final_layer, query_head
    from rkdeploy.host.export.transformer_blocks import TRANSFORMER_BLOCKS
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    layers = layers_of(checkpoint)
    head = layers[-1]
    builder = GraphBuilder(OPSET)
    blocks = YOLOV5_BLOCKS | CSP_BLOCKS | ATTENTION_BLOCKS | HGNET_BLOCKS | TRANSFORMER_BLOCKS
    emission = Emission(builder, blocks, stem)
    features = emit_layers(emission, layers, emit_image(builder, input_channels(checkpoint), height, width))
    with blamed(f'Head "{head.path}"'):
        output, found = query_head(emission, head, features, (height, width))
        last = final_layer(head)
    image = InputSpec("images", height, width, fit="stretch")
    heads = ("dec_score_head", "dec_bbox_head", "decoder.layers")
    unused = [
        f"{name}.{index}" for name in heads for index in range(last + 1, len(head.child("dec_bbox_head").children))
    ]
    unused += [f"dec_score_head.{index}" for index in range(last)]
    return finish(
        builder, layers, {"output0": output}, found, image, onnx_metadata(info), (*unused, "denoising_class_embed")
    )
