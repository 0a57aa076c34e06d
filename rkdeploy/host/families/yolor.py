"""YOLOR: the paper branch's pickled models, and the main branch's weights with their darknet cfg."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.darknet_sections import (
    ACTIVATIONS,
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
from rkdeploy.host.families.anchor_models import describe_anchor_model, export_anchor_model, finest_first
from rkdeploy.host.families.checkpoint_facts import (
    anchors_of,
    head_of,
    layers_of,
    onnx_metadata,
    training_facts,
)  # fmt: skip
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolor"
_MODULES = "module_list"
_OWN_BLOCKS = frozenset({"ReOrg", "DWT", "BottleneckCSPF", "BottleneckCSPL", "BottleneckCSP2", "SPPCSP", "VoVCSP",
                         "DownC", "DownD"})  # fmt: skip
"""Blocks that YOLOv5 does not have; `rkdeploy.host.export.yolor_blocks` emits them."""
_STRIDES = ((8, 16, 32, 64, 128), (32, 16, 8))
"""Strides of the main branch's decode (models/models.py): the second for yolov3, yolov4-tiny and fpn."""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for a checkpoint of either branch.

    The paper branch's ends in IDetect, or in an anchor head behind blocks that YOLOv5 does not have; the main branch's
    holds weights by their section's number.
    """
    if _MODULES in checkpoint.root.children:
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
    if _MODULES in checkpoint.root.children:
        return _describe_cfg(checkpoint, _cfg(checkpoint))
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
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.darknet import emit_sections
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.heads import AnchorLayout, AnchorMap, anchor_decode
    from rkdeploy.host.export.layer_list import finish
    from rkdeploy.host.export.yolor_blocks import YOLOR_BLOCKS
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    if _MODULES not in checkpoint.root.children:
        return export_anchor_model(checkpoint, info, YOLOR_BLOCKS, height, width, stem)
    assert info.anchors is not None
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS | YOLOR_BLOCKS, stem)
    cfg = _cfg(checkpoint)
    ends = emit_sections(emission, checkpoint.root, cfg, builder.input("images", (1, 3, height, width)))
    found = tuple(height // value.shape[2] for _, value in ends)
    if found != info.strides:
        raise CheckpointError(f"{cfg.name} gives strides {found}, expected {info.strides}.")
    layout = AnchorLayout(info.anchors, info.strides, len(info.class_names))
    output, head = anchor_decode(builder, "yolo", [AnchorMap(path, value) for path, value in ends], layout)
    image = InputSpec("images", height, width)
    return finish(builder, (checkpoint.root,), {"output0": output}, head, image, onnx_metadata(info))


def _paper_generation(checkpoint: Checkpoint, levels: int) -> str:
    """The configuration that it was built from, if the file says, else its visible features."""
    name = checkpoint.root.attribute("yaml_file")
    if isinstance(name, str) and name.isprintable() and len(name) < 80:
        return f"paper branch, {PurePosixPath(name).stem}"
    return f"paper branch, {levels} levels"


def _cfg(checkpoint: Checkpoint) -> DarknetCfg:
    """The cfg that the user gave.

    Raises:
        CheckpointError: when there is none.
    """
    if checkpoint.cfg is None:
        raise CheckpointError(
            f'"{checkpoint.path.name}" holds the weights of a network that a darknet cfg describes (YOLOR\'s main '
            "branch), but not the network.",
            f"Give the cfg that it was trained with: rkdeploy build {checkpoint.path.name} --cfg yolor_p6.cfg",
        )
    return checkpoint.cfg


def _describe_cfg(checkpoint: Checkpoint, cfg: DarknetCfg) -> ModelInfo:
    classes = {yolo.classes for yolo in cfg.yolos}
    counts = {len(yolo.anchors_px) for yolo in cfg.yolos}
    if len(classes) != 1 or len(counts) != 1:
        raise CheckpointError(f"The [yolo] sections of {cfg.name} differ in their number of classes or anchors.")
    sections, weights = len(cfg.sections), checkpoint.root.child(_MODULES).children
    beyond = [name for name in weights if not name.isdecimal() or int(name) >= sections]
    if beyond:
        raise CheckpointError(
            f'"{checkpoint.path.name}" has weights of section {beyond[0]}, but {cfg.name} has the sections 0 to '
            f"{sections - 1}.",
            "Give the cfg that it was trained with.",
        )
    strides = _cfg_strides(cfg)
    anchors = Anchors(tuple(yolo.anchors_px for yolo in cfg.yolos))
    words = [s.activation for s in cfg.sections if isinstance(s, Convolutional)]
    active = Counter(ACTIVATIONS[word] for word in words if word in ACTIVATIONS)
    shown_size = cfg.net.width is not None and cfg.net.height is not None
    return ModelInfo(
        family=NAME,
        generation=f"main branch, {cfg.name}",
        task="detect",
        class_names=tuple(f"class_{i}" for i in range(classes.pop())),
        strides=strides,
        anchors=anchors,
        anchor_comparison=compare_anchors(finest_first(anchors, strides), NAME),
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(Counter(section.kind for section in cfg.sections).most_common()),
        training=training_facts(checkpoint, max(cfg.net.width or 0, cfg.net.height or 0) if shown_size else None),
        has_class_names=False,
    )


def _cfg_strides(cfg: DarknetCfg) -> tuple[int, ...]:
    """Pixels per cell of each [yolo], computed through the sections.

    Raises:
        CheckpointError: when they are not those of the main branch's decode, which depends on the order alone.
    """
    cells: list[Fraction] = []
    current = Fraction(1)
    strides = []
    for section in cfg.sections:
        current = _cell(section, current, cells)
        cells.append(current)
        if isinstance(section, Yolo):
            strides.append(current)
    known = [tuple(order[: len(strides)]) for order in _STRIDES if len(order) >= len(strides)]
    found = tuple(int(s) if s.denominator == 1 else 0 for s in strides)
    if found not in known:
        raise CheckpointError(
            f"The [yolo] sections of {cfg.name} have strides {', '.join(str(s) for s in strides)}, expected "
            f"{' or '.join(', '.join(map(str, order)) for order in known)}.",
            "YOLOR's main branch decodes with these strides, whatever the network's are.",
        )
    return found


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
