"""Common part of the families whose network is a darknet cfg with its weights: read and exported alike.

The weights are named by their section, `module_list.<index>`, whether a state dict or a `.weights` holds them.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.darknet_sections import (
    ChannelOperation,
    Convolutional,
    DarknetCfg,
    Implicit,
    Plain,
    Pool,
    Route,
    Section,
    Upsample,
    Yolo,
)
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.anchor_models import finest_first
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

MODULES = "module_list"
_OF_YOLOR = ("shift_channels", "control_channels", "select_channels", "alternate_channels")


def has_sections(checkpoint: Checkpoint) -> bool:
    """True for weights that a darknet cfg describes."""
    return MODULES in checkpoint.root.children


def is_of_yolor(cfg: DarknetCfg) -> bool:
    """True if a cfg has sections that only YOLOR's code knows."""
    return any(
        isinstance(section, Implicit)
        or (isinstance(section, ChannelOperation) and section.kind.removesuffix("_2d") in _OF_YOLOR)
        for section in cfg.sections
    )


def require_cfg(checkpoint: Checkpoint) -> DarknetCfg:
    """The cfg that the user gave.

    Raises:
        CheckpointError: when there is none.
    """
    if checkpoint.cfg is None:
        raise CheckpointError(
            f'"{checkpoint.path.name}" holds the weights of a network that a darknet cfg describes (YOLOR\'s main '
            "branch, ultralytics/yolov3, darknet), but not the network.",
            f"Give the cfg that it was trained with: rkdeploy build {checkpoint.path.name} --cfg model.cfg",
        )
    return checkpoint.cfg


def describe_section_model(checkpoint: Checkpoint, cfg: DarknetCfg, family: str, generation: str) -> ModelInfo:
    """Read the facts of a detector.

    Args:
        checkpoint: file with the weights.
        cfg: the network that the weights belong to.
        family: name of the family.
        generation: which of its models it is.

    Raises:
        CheckpointError: when weights and cfg contradict each other.
    """
    classes = {yolo.classes for yolo in cfg.yolos}
    counts = {len(yolo.anchors_px) for yolo in cfg.yolos}
    if len(classes) != 1 or len(counts) != 1:
        raise CheckpointError(f"The [yolo] sections of {cfg.name} differ in their number of classes or anchors.")
    sections, weights = len(cfg.sections), checkpoint.root.child(MODULES).children
    beyond = [name for name in weights if not name.isdecimal() or int(name) >= sections]
    if beyond:
        raise CheckpointError(
            f'"{checkpoint.path.name}" has weights of section {beyond[0]}, but {cfg.name} has the sections 0 to '
            f"{sections - 1}.",
            "Give the cfg that it was trained with.",
        )
    strides = section_strides(cfg)
    anchors = Anchors(tuple(yolo.anchors_px for yolo in cfg.yolos))
    words = [cfg.activation(s.activation) for s in cfg.sections if isinstance(s, Convolutional)]
    active = Counter(word for word in words if word is not None)
    known = cfg.net.width is not None and cfg.net.height is not None
    size = max(cfg.net.width or 0, cfg.net.height or 0) if known else None
    return ModelInfo(
        family=family,
        generation=generation,
        task="detect",
        class_names=tuple(f"class_{i}" for i in range(classes.pop())),
        strides=strides,
        anchors=anchors,
        anchor_comparison=compare_anchors(finest_first(anchors, strides), family),
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(Counter(section.kind for section in cfg.sections).most_common()),
        training=training_facts(checkpoint, size),
        has_class_names=False,
    )


def export_section_model(
    checkpoint: Checkpoint,
    info: ModelInfo,
    image: InputSpec,
    stem: StemForm,
    formula: AnchorFormula | None = None,
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0` (1, rows, 5 + nc).

    Args:
        checkpoint: file with the weights.
        info: facts of the model.
        image: the input.
        stem: form of its first layer.
        formula: of the boxes; None for YOLOv5's.

    Raises:
        CheckpointError, GraphError: when weights and cfg differ, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.darknet_layers import emit_sections
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.heads import AnchorLayout, AnchorMap, anchor_decode
    from rkdeploy.host.export.layer_list import finish
    from rkdeploy.host.export.yolor_blocks import YOLOR_BLOCKS
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    assert info.anchors is not None
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS | YOLOR_BLOCKS, stem)
    cfg = require_cfg(checkpoint)
    value = builder.input(image.name, (1, cfg.net.channels, image.height, image.width))
    ends = emit_sections(emission, checkpoint.root, cfg, value)
    found = tuple(image.height // end.shape[2] for _, end in ends)
    if found != info.strides:
        raise CheckpointError(f"{cfg.name} gives strides {found}, expected {info.strides}.")
    layout = AnchorLayout(info.anchors, info.strides, len(info.class_names), formula=formula)
    output, head = anchor_decode(builder, "yolo", [AnchorMap(path, end) for path, end in ends], layout)
    return finish(builder, (checkpoint.root,), {"output0": output}, head, image, onnx_metadata(info))


def section_strides(cfg: DarknetCfg) -> tuple[int, ...]:
    """Pixels per cell of each [yolo], computed through the sections.

    Raises:
        CheckpointError: when one is not a whole number.
    """
    cells: list[Fraction] = []
    current = Fraction(1)
    strides = []
    for section in cfg.sections:
        current = _cell(section, current, cells)
        cells.append(current)
        if isinstance(section, Yolo):
            strides.append(current)
    if any(stride.denominator != 1 or stride < 1 for stride in strides):
        raise CheckpointError(
            f"The [yolo] sections of {cfg.name} have strides {', '.join(map(str, strides))}, expected whole numbers."
        )
    return tuple(int(stride) for stride in strides)


def _cell(section: Section, current: Fraction, cells: list[Fraction]) -> Fraction:
    """Input pixels per cell of a section's output, 0 for a tensor that is not an image."""
    match section:
        case Convolutional():
            return current * section.stride_hw[0]
        case Pool():
            return current * section.stride
        case Upsample():
            return current / section.stride
        case Plain(kind="reorg") | Plain(kind="dwt"):
            return current * 2
        case Plain(kind="avgpool") | Implicit():
            return Fraction(0)
        case Route():
            return cells[section.sources[0]]
        case ChannelOperation():
            return current or cells[section.source]
        case _:
            return current
