"""Common part of the families of YOLOv5's lineage: a layer list that ends in a head on anchors, read and exported
alike.

A family is then a way to recognize it and a table of blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import AnchorFormula, KeypointLayout
from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    anchors_of,
    class_count,
    class_names,
    layers_of,
    onnx_metadata,
    strides_of,
    training_facts,
)
from rkdeploy.host.families.checkpoint_kinds import input_channels
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.emission import Emitter
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm


def describe_anchor_model(
    checkpoint: Checkpoint, family: str, generation: str, keypoints: KeypointLayout | None = None
) -> ModelInfo:
    """Read the facts of a detector on anchors.

    Args:
        checkpoint: file of the detector.
        family: name of the family.
        generation: which of its models it is, as far as the file tells.
        keypoints: of its objects, None for boxes alone.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = layers_of(checkpoint)
    head = layers[-1]
    anchors = anchors_of(head)
    strides = strides_of(checkpoint, head, len(anchors.levels_px))
    active = activations(checkpoint.root.walk())
    return ModelInfo(
        family=family,
        generation=generation,
        task="detect" if keypoints is None else "pose",
        class_names=class_names(checkpoint, class_count(head)),
        strides=strides,
        anchors=anchors,
        anchor_comparison=compare_anchors(finest_first(anchors, strides), family),
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(Counter(m.class_name for m in layers).most_common()),
        training=training_facts(checkpoint),
        keypoints=keypoints,
    )


def export_anchor_model(
    checkpoint: Checkpoint,
    info: ModelInfo,
    own_blocks: Mapping[str, Emitter],
    height: int,
    width: int,
    stem: StemForm,
    formula: AnchorFormula | None = None,
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, columns).

    Columns are x, y, w, h, objectness, classes and keypoints in upstream's order; see `anchor_decode`.

    Args:
        checkpoint: the file.
        info: facts of the checkpoint.
        own_blocks: emitters of the blocks that YOLOv5 does not have, or has under another meaning.
        height: of the input in pixels.
        width: of the input in pixels.
        stem: how the first layer is written.
        formula: how boxes are read; None for YOLOv5's.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.anchor_maps import TRAINING_ONLY, anchor_maps
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.heads import AnchorLayout, anchor_decode
    from rkdeploy.host.export.layer_list import blamed, emit_image, emit_layers, finish
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    assert info.anchors is not None
    layers = layers_of(checkpoint)
    builder = GraphBuilder()
    emission = Emission(builder, {**YOLOV5_BLOCKS, **own_blocks}, stem)
    features = emit_layers(emission, layers, emit_image(builder, input_channels(checkpoint), height, width))
    with blamed(f'Head "{layers[-1].path}"'):
        maps = anchor_maps(emission, layers[-1], features)
        layout = AnchorLayout(
            info.anchors, info.strides, len(info.class_names), keypoints=info.keypoints, formula=formula
        )
        output, head = anchor_decode(builder, layers[-1].path, maps, layout)
    image = InputSpec("images", height, width)
    return finish(builder, layers, {"output0": output}, head, image, onnx_metadata(info), TRAINING_ONLY)


def finest_first(anchors: Anchors, strides: tuple[int, ...]) -> Anchors:
    """The levels in the order of their strides."""
    order = sorted(range(len(strides)), key=lambda level: strides[level])
    return Anchors(tuple(anchors.levels_px[level] for level in order))
