"""YOLOv5-Lite: YOLOv5's head behind ShuffleNet, PP-LCNet or RepVGG blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import head_of, layers_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov5-lite"
_BACKBONES = {
    "Shuffle_Block": "ShuffleNetV2",
    "ShuffleV2Block": "ShuffleNetV2",
    "LC_Block": "PP-LCNet",
    "RepVGGBlock": "RepVGG",
}
"""Blocks that YOLOv5 does not have, and the backbone that they make."""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for YOLOv5's head behind a backbone of these."""
    head = head_of(checkpoint)
    if head is None or head.class_name != "Detect" or "anchors" not in head.tensors:
        return False
    return _backbone(checkpoint) != ""


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    return describe_anchor_model(checkpoint, NAME, _backbone(checkpoint))


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.lite_blocks import LITE_BLOCKS

    return export_anchor_model(checkpoint, info, LITE_BLOCKS, height, width, stem)


def _backbone(checkpoint: Checkpoint) -> str:
    """Name of the backbone that the blocks make; empty for a model without such blocks."""
    classes = {part.class_name for layer in layers_of(checkpoint) for part in (layer, *layer.children.values())}
    return next((name for block, name in _BACKBONES.items() if block in classes), "")
