"""The family of a checkpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families import (
    darknet,
    fastestdet,
    lprnet,
    plate_crnn,
    retinaface,
    rtdetr,
    torchvision_ssd,
    ultraface,
    ultralytics,
    yolo_fastest,
    yolop,
    yolor,
    yolov5,
    yolov5_face,
    yolov5_lite,
    yolov6,
    yolov7,
    yolov9,
    yolox,
)
from rkdeploy.host.families.checkpoint_kinds import kind_of, refusal
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.system.plugins import FAMILIES as PLUGINS
from rkdeploy.system.plugins import load_plugin, plugins

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

_LOG = logging.getLogger(__name__)


_ASK = "rkdeploy inspect best.onnx says whether that builds."


class Family(Protocol):
    """Interface of a family's file.

    `recognize` decides quickly whether a checkpoint belongs to the family.  `describe` reads its facts.  `export`
    writes
    its graph for an input of (height, width) pixels; `stem` is the form of its first layer.
    """

    NAME: str

    def recognize(self, checkpoint: Checkpoint) -> bool: ...

    def describe(self, checkpoint: Checkpoint) -> ModelInfo: ...

    def export(
        self, checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained"
    ) -> Exported: ...


FAMILIES: tuple[Family, ...] = (
    yolov7,
    yolov5_face,
    yolov5_lite,
    darknet,
    yolov6,
    yolor,
    yolop,
    yolox,
    yolov5,
    yolov9,
    ultralytics,
    rtdetr,
    retinaface,
    ultraface,
    torchvision_ssd,
    yolo_fastest,
    fastestdet,
    lprnet,
    plate_crnn,
)


def all_families() -> tuple[Family, ...]:
    """The families of plug-ins first, then our own: a plug-in is installed on purpose, for what it knows better.

    Raises:
        RkdeployError: when a plug-in cannot be loaded.
    """
    return (*(load_plugin(point) for point in plugins(PLUGINS).values()), *FAMILIES)


def family_of(checkpoint: Checkpoint, name: str | None = None) -> Family:
    """The family of a checkpoint.

    Args:
        checkpoint: the file.
        name: of the family, as the user says it where several fit; None takes the first that recognizes the file.

    Raises:
        CheckpointError: when no family recognizes it, with the content of the checkpoint.
    """
    for family in _chosen(name):
        if family.recognize(checkpoint):
            if checkpoint.cfg is not None and family not in (yolor, darknet):
                raise CheckpointError(
                    f'"{checkpoint.path.name}" needs no darknet cfg: its structure is known.', "Leave out --cfg."
                )
            _LOG.debug("%s: family %s", checkpoint.path.name, family.NAME)
            return family
    if name is not None:
        fitting = [family.NAME for family in all_families() if family.recognize(checkpoint)]
        raise CheckpointError(
            f'"{checkpoint.path.name}" is not of the family {name}.',
            f"Families that recognize it: {', '.join(fitting)}." if fitting else "No family recognizes it.",
        )
    kind = kind_of(checkpoint)
    if kind is not None:
        raise refusal(kind, checkpoint)
    if checkpoint.is_state_dict:
        raise CheckpointError(
            f'"{checkpoint.path.name}" is a state dict: it holds weights but not the model they belong to.',
            f"Use the best.pt that the training run saved, or export ONNX where it was trained: {_ASK}",
        )
    model = checkpoint.root.children.get("model")
    last = f", whose last layer is {list(model.children.values())[-1].class_name}" if model and model.children else ""
    raise CheckpointError(
        f'"{checkpoint.path.name}" is a model of the class {checkpoint.root.module_name}.{checkpoint.root.class_name}'
        f"{last}; no known family has it. Known: {', '.join(f.NAME for f in all_families())}.",
        f"It may still build from ONNX, exported where it was trained: {_ASK}",
    )


def _chosen(name: str | None) -> tuple[Family, ...]:
    """The families to ask: all of them, or the one of this name.

    Raises:
        CheckpointError: when there is no family of this name.
    """
    families = all_families()
    if name is None:
        return families
    chosen = tuple(family for family in families if name == family.NAME)
    if not chosen:
        known = ", ".join(family.NAME for family in families)
        raise CheckpointError(f'There is no family "{name}".', f"--family takes one of: {known}.")
    return chosen
