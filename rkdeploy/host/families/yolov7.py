"""YOLOv7: WongKinYiu's own code, tiny to E6E, trained or re-parameterized; YOLOv7-pose, YOLOv7-face and descendants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.contract.spec import KeypointLayout
from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import layers_of, yaml_name
from rkdeploy.host.families.checkpoint_kinds import is_yolov7
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov7"
_MAX_KEYPOINTS = 1000

recognize = is_yolov7


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    head = layers_of(checkpoint)[-1]
    name = yaml_name(checkpoint.root.attribute("yaml_file"))
    generation = f"{name}, {head.class_name} head" if name else f"{head.class_name} head"
    return describe_anchor_model(checkpoint, NAME, generation, _keypoints(head))


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc + 3 K).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.lite_blocks import LITE_BLOCKS
    from rkdeploy.host.export.yolov7_blocks import YOLOV7_BLOCKS

    return export_anchor_model(checkpoint, info, {**LITE_BLOCKS, **YOLOV7_BLOCKS}, height, width, stem)


def _keypoints(head: Module) -> KeypointLayout | None:
    """The keypoints of IKeypoint, (2 raw - 0.5 + cell) * stride with a score each; None for other heads.

    Raises:
        CheckpointError: when it does not say how many.
    """
    if head.class_name != "IKeypoint":
        return None
    count = head.attribute("nkpt")
    if type(count) is not int or not 1 <= count <= _MAX_KEYPOINTS:
        raise CheckpointError(f'"{head.path}" has {shown(count)} keypoints, expected 1 to {_MAX_KEYPOINTS}.')
    return KeypointLayout(count, scored=True, gain=2.0, offset=-0.5)
