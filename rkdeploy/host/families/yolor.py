"""YOLOR: the paper branch's pickled models, and the main branch's weights with their darknet cfg."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.darknet_sections import DarknetCfg
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model
from rkdeploy.host.families.checkpoint_facts import anchors_of, head_of, layers_of
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.section_models import (
    describe_section_model,
    export_section_model,
    has_sections,
    require_cfg,
    section_strides,
)

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolor"
_OWN_BLOCKS = frozenset(
    {"ReOrg", "DWT", "BottleneckCSPF", "BottleneckCSPL", "BottleneckCSP2", "SPPCSP", "VoVCSP", "DownC", "DownD"}
)
"""Blocks that YOLOv5 does not have; `rkdeploy.host.export.yolor_blocks` emits them."""
_STRIDES = ((8, 16, 32, 64, 128), (32, 16, 8))
"""Strides of the main branch's decode (models/models.py): the second for yolov3, yolov4-tiny and fpn."""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for a checkpoint of either branch.

    The paper branch's ends in IDetect, or in an anchor head behind blocks that YOLOv5 does not have; the main branch's
    holds weights by their section's number.
    """
    if has_sections(checkpoint):
        return True
    head = head_of(checkpoint)
    if head is None or "anchors" not in head.tensors:
        return False
    blocks = {layer.class_name for layer in layers_of(checkpoint)}
    return head.class_name == "IDetect" or (head.class_name == "Detect" and bool(blocks & _OWN_BLOCKS))


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, or the cfg that weights alone need is missing.
    """
    if has_sections(checkpoint):
        cfg = require_cfg(checkpoint)
        _require_known_strides(cfg)
        return describe_section_model(checkpoint, cfg, NAME, f"main branch, {cfg.name}")
    if checkpoint.cfg is not None:
        raise CheckpointError(
            f'"{checkpoint.path.name}" contains its structure: it is of YOLOR\'s paper branch.', "Leave out --cfg."
        )
    head = layers_of(checkpoint)[-1]
    return describe_anchor_model(checkpoint, NAME, _paper_generation(checkpoint, len(anchors_of(head).levels_px)))


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, weights and cfg differ, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.yolor_blocks import YOLOR_BLOCKS

    if has_sections(checkpoint):
        return export_section_model(checkpoint, info, InputSpec("images", height, width), stem)
    return export_anchor_model(checkpoint, info, YOLOR_BLOCKS, height, width, stem)


def _paper_generation(checkpoint: Checkpoint, levels: int) -> str:
    """The configuration that it was built from, if the file says, else its visible features."""
    name = checkpoint.root.attribute("yaml_file")
    if isinstance(name, str) and name.isprintable() and len(name) < 80:
        return f"paper branch, {PurePosixPath(name).stem}"
    return f"paper branch, {levels} levels"


def _require_known_strides(cfg: DarknetCfg) -> None:
    """Check the strides of the [yolo] sections.

    Raises:
        CheckpointError: when they are not those of the main branch's decode, which depends on the order alone.
    """
    strides = section_strides(cfg)
    known = [tuple(order[: len(strides)]) for order in _STRIDES if len(order) >= len(strides)]
    if strides not in known:
        raise CheckpointError(
            f"The [yolo] sections of {cfg.name} have strides {', '.join(str(s) for s in strides)}, expected "
            f"{' or '.join(', '.join(map(str, order)) for order in known)}.",
            "YOLOR's main branch decodes with these strides, whatever the network's are.",
        )
