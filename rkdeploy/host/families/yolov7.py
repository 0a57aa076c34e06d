"""YOLOv7, as far as its checkpoint helps to build an ONNX file exported from it: names, anchors and strides."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    anchors_of,
    class_count,
    class_names,
    image_size,
    layers_of,
    strides_of,
)  # fmt: skip
from rkdeploy.host.families.kinds import is_yolov7, require_buildable
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
    layers = layers_of(checkpoint)
    head = layers[-1]
    anchors = anchors_of(head)
    active = activations(checkpoint.root.walk())
    return ModelInfo(
        family=NAME,
        generation=f"{head.class_name} head",
        task="detect",
        class_names=class_names(checkpoint, class_count(head)),
        strides=strides_of(checkpoint, head, len(anchors.levels_px)),
        anchors=anchors,
        anchor_comparison=compare_anchors(anchors, NAME),
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(Counter(m.class_name for m in layers).most_common()),
        parameters=checkpoint.parameters,
        image_size=image_size(checkpoint),
        weights=checkpoint.weights,
        stored_dtype=checkpoint.dtype,
        epoch=checkpoint.epoch,
        date=checkpoint.date,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """Refuse: the graph is not written here.

    Raises:
        CheckpointError: always, with the command that makes its ONNX file.
    """
    require_buildable(checkpoint)
    raise AssertionError(f"{info.family} at {height}x{width}, {stem}: every YOLOv7 is refused above")
