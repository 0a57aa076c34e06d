"""Which family a checkpoint belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rkdeploy.checkpoint import Checkpoint
from rkdeploy.errors import CheckpointError
from rkdeploy.families import yolov5
from rkdeploy.families.model_info import ModelInfo

if TYPE_CHECKING:
    import onnx

    from rkdeploy.export.blocks import StemForm


class Family(Protocol):
    """What a family's file offers."""

    NAME: str

    def recognise(self, checkpoint: Checkpoint) -> bool: ...

    def describe(self, checkpoint: Checkpoint) -> ModelInfo: ...

    def export(
        self,
        checkpoint: Checkpoint,
        info: ModelInfo,
        height: int,
        width: int,
        batch: int = 1,
        stem: StemForm = "trained",
    ) -> onnx.ModelProto: ...


FAMILIES: tuple[Family, ...] = (yolov5,)


def family_of(checkpoint: Checkpoint) -> Family:
    """The family of a checkpoint.

    Raises:
        CheckpointError: when no family knows it, naming what the checkpoint holds.
    """
    for family in FAMILIES:
        if family.recognise(checkpoint):
            return family
    model = checkpoint.root.children.get("model")
    last = list(model.children.values())[-1].class_name if model is not None and model.children else "none"
    raise CheckpointError(
        f'"{checkpoint.path.name}" is a {checkpoint.root.module_name}.{checkpoint.root.class_name} whose last layer is '
        f"{last}; no known family has that. Known: {', '.join(f.NAME for f in FAMILIES)} (detection).",
        "Other families and tasks are not supported yet. A YOLOv5 detection model of an unusual shape may build from "
        "ONNX: export it where it was trained, then rkdeploy build best.onnx",
    )
