"""YOLOv5-face and its descendants for plates and armor: landmarks on anchors, without scores of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import landmark_count
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov5-face"


def recognize(checkpoint: Checkpoint) -> bool:
    """True for an anchor head with more channels than boxes, objectness and classes need."""
    return landmark_count(checkpoint) > 0


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    points = landmark_layout(landmark_count(checkpoint))
    return describe_anchor_model(checkpoint, NAME, f"{points.count} landmarks", points)


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + 2 K + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.lite_blocks import LITE_BLOCKS

    return export_anchor_model(checkpoint, info, LITE_BLOCKS, height, width, stem)


def landmark_layout(count: int) -> KeypointLayout:
    """Landmarks as models/yolo.py of deepcam-cn/yolov5-face decodes them: raw * anchor + cell * stride."""
    return KeypointLayout(count, scored=False, gain=1.0, offset=0.0, by_anchor=True)
