"""YOLOv7: WongKinYiu's own code, tiny to E6E, in the form that was trained or re-parameterized."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import layers_of
from rkdeploy.host.families.kinds import is_yolov7
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov7"

recognize = is_yolov7


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    head = layers_of(checkpoint)[-1]
    name = checkpoint.root.attribute("yaml_file")
    known = isinstance(name, str) and name.isprintable() and len(name) < 80
    form = f"{PurePosixPath(name).stem}, " if known else ""
    return describe_anchor_model(checkpoint, NAME, f"{form}{head.class_name} head")


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.yolov7_blocks import YOLOV7_BLOCKS

    return export_anchor_model(checkpoint, info, YOLOV7_BLOCKS, height, width, stem)
