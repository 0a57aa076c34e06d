"""A family: checkpoints of our own training, which are YOLOv5's with facts of ours.

A real one reads its layers with `rkdeploy.host.checkpoint` and writes its graph with `rkdeploy.host.export`.
"""

from dataclasses import replace

from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families import yolov5
from rkdeploy.host.families.model_info import ModelInfo

NAME = "hardware-store"


def recognize(checkpoint: Checkpoint) -> bool:
    """Take YOLOv5 checkpoints that know washers."""
    return yolov5.recognize(checkpoint) and "washer" in yolov5.describe(checkpoint).class_names


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model."""
    return replace(yolov5.describe(checkpoint), generation="of the hardware store")


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """Write its graph for an input of (height, width) pixels."""
    return yolov5.export(checkpoint, info, height, width, stem)
