"""Darknet's networks: YOLOv3, v4, v7 and their tiny forms, as `.weights` with their cfg, or trained in PyTorch.

The cfg says everything but class names.  A state dict with a cfg that has nothing of YOLOR's is of ultralytics/yolov3
or a code made from it, which reads boxes as darknet does (models.py there, YOLOLayer: sigmoid + grid, exp * anchor).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.darknet_sections import DarknetCfg
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.section_models import (
    describe_section_model,
    export_section_model,
    has_sections,
    is_of_yolor,
    require_cfg,
)

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "darknet"
_HALF_GRAY = 128  # src/image.c, letterbox_image: 0.5
_SAID_BY_CFG_ALONE = (
    "The cfg has nothing of YOLOR's: sizes are read as exponents, as darknet and ultralytics/yolov3 do. If YOLOR's, "
    "ScaledYOLOv4's or PyTorch_YOLOv4's code trained it, give --family yolor."
)


def recognize(checkpoint: Checkpoint) -> bool:
    """True for weights by section whose cfg has nothing of YOLOR's."""
    return has_sections(checkpoint) and checkpoint.cfg is not None and not is_of_yolor(checkpoint.cfg)


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when weights and cfg contradict each other, or the cfg is missing.
    """
    cfg = require_cfg(checkpoint)
    squares = {yolo.new_coords for yolo in cfg.yolos}
    if len(squares) != 1:
        raise CheckpointError(f"The [yolo] sections of {cfg.name} differ in new_coords.")
    info = describe_section_model(checkpoint, cfg, NAME, cfg.name)
    if cfg.dialect == "pytorch":
        return replace(info, notes=(_SAID_BY_CFG_ALONE,))
    known = cfg.net.height is not None and cfg.net.width is not None
    return replace(info, image_hw=(cfg.net.height or 0, cfg.net.width or 0) if known else None)


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when weights and cfg differ, or a size does not fit.
    """
    cfg = require_cfg(checkpoint)
    if cfg.net.channels != 3:
        raise CheckpointError(f"{cfg.name} takes images with {cfg.net.channels} channels, expected 3.")
    image = InputSpec("images", height, width)
    if cfg.dialect == "darknet":
        image = replace(image, pad_value=_HALF_GRAY) if cfg.net.letter_box else replace(image, fit="stretch")
    return export_section_model(checkpoint, info, image, stem, _formula(cfg, info))


def _formula(cfg: DarknetCfg, info: ModelInfo) -> AnchorFormula | None:
    """Formula of the boxes: gains of centers in the order of strides, sizes as squares or exponents."""
    order = sorted(range(len(info.strides)), key=lambda level: info.strides[level])
    gains = tuple(cfg.yolos[level].scale_x_y for level in order)
    formula = AnchorFormula(
        (gains[0],) if len(set(gains)) == 1 else gains, "square" if cfg.yolos[0].new_coords else "exp"
    )
    return None if formula == AnchorFormula() else formula
