"""A network from the checkpoint of its training run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import onnx

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.given_anchors import GIVEN, anchors_of_levels
from rkdeploy.host.building.network import Network
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families.checkpoint_kinds import require_buildable
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import Family, family_of
from rkdeploy.host.graph.gray_input import GRAY_NOTE, fold_gray, is_made_gray
from rkdeploy.host.graph.simplify import simplify

_LOG = logging.getLogger(__name__)

_NO_NAMES = "The checkpoint has no class names; they are class_0, class_1, ... Give them with --names."


def from_checkpoint(
    file: Path,
    imgsz: tuple[int, int] | None,
    stem: StemForm,
    *,
    nms: bool | None = None,
    cfg: Path | None = None,
    family_name: str | None = None,
    anchors: tuple[float, ...] | None = None,
) -> Network:
    """Read, export and simplify a `.pt` or `.pth`.

    Args:
        file: the checkpoint.
        imgsz: (height, width) of the network input; None takes the training size.
        stem: form of its first layer.
        nms: for a checkpoint with two heads, True for the one whose boxes need suppression; None takes the one
            that its trainer takes.
        cfg: the darknet cfg of a checkpoint that holds weights only.
        family_name: family of the checkpoint, where its file fits several; None asks the file.
        anchors: widths and heights in pixels, for a checkpoint that does not say them.

    Raises:
        RkdeployError: for any fault of the checkpoint, or when it has anchors of its own.
    """
    checkpoint, family, info = recognize(file, nms=nms, cfg=cfg, family_name=family_name)
    if anchors is not None:
        info = _with_anchors(file, info, anchors)
    hw, note = choose_size(info, imgsz)
    end = "without" if info.end_to_end else "with"
    _LOG.debug("%s (%s), input %dx%d, head %s suppression", info.generation, info.task, hw[1], hw[0], end)
    trained = family.export(checkpoint, info, *hw)
    reference = trained
    if stem != "trained":
        rewritten = family.export(checkpoint, info, *hw, stem=stem)
        reference = trained if rewritten.model == trained.model else rewritten
        _LOG.debug("the first layer %s", "stays as trained" if reference is trained else f"is rewritten: {stem}")
    return Network(
        file=file,
        sha256=sha256_of(file),
        weights=None,
        family=info.family,
        task=info.task,
        trained=trained.model,
        reference=reference.model,
        simplified=fold_gray(simplify(with_taps(reference))),
        head=reference.head,
        reference_head=reference.head,
        input=reference.input,
        anchors=reference.head.anchors,
        anchors_from=None if reference.head.anchors is None else "checkpoint" if anchors is None else GIVEN,
        class_names=info.class_names,
        info=info,
        notes=_notes(note, info, trained),
    )


def _with_anchors(file: Path, info: ModelInfo, anchors: tuple[float, ...]) -> ModelInfo:
    """The facts with the anchors of --anchors.

    Raises:
        RkdeployError: when the checkpoint has its own, or another number.
    """
    if not info.assumed_anchors or info.anchors is None:
        raise RkdeployError(f'"{file.name}" has its own anchors.', "--anchors goes with an ONNX file without any.")
    levels = info.anchors.levels_px
    return replace(info, anchors=anchors_of_levels(anchors, len(levels), len(levels[0])), notes=())


def recognize(
    file: Path, *, nms: bool | None = None, cfg: Path | None = None, family_name: str | None = None
) -> tuple[Checkpoint, Family, ModelInfo]:
    """Read a `.pt` or `.pth` and what it says of itself, without exporting it.

    Args:
        file: the checkpoint.
        nms: as for `from_checkpoint`.
        cfg: as for `from_checkpoint`.
        family_name: as for `from_checkpoint`.

    Raises:
        RkdeployError: when the file is broken, or of a kind that does not build.
    """
    checkpoint = read_checkpoint(file, cfg)
    family = family_of(checkpoint, family_name)
    info = _with_head(family.describe(checkpoint), nms=nms)
    require_buildable(checkpoint, family_name)
    return checkpoint, family, info


def _notes(size_note: str, info: ModelInfo, trained: Exported) -> tuple[str, ...]:
    """Remarks for the user, without empty ones."""
    names_note = "" if info.has_class_names else _NO_NAMES
    gray_note = GRAY_NOTE if is_made_gray(trained.model) else ""
    return tuple(note for note in (size_note, *info.notes, names_note, gray_note) if note)


def _with_head(info: ModelInfo, *, nms: bool | None) -> ModelInfo:
    if nms is None or nms is not info.end_to_end:
        return info
    if not info.dual_head:
        kind = "gives each object once" if info.end_to_end else "needs non-maximum suppression"
        raise RkdeployError(f"The checkpoint has one head, which {kind}.", f"Leave out --{'nms' if nms else 'no-nms'}.")
    return replace(info, end_to_end=not nms)


def with_taps(exported: Exported) -> onnx.ModelProto:
    """The graph with the head's raw tensors as additional outputs, so that simplification keeps them and their
    names.
    """
    model = onnx.ModelProto()
    model.CopyFrom(exported.model)
    for tap in exported.head.taps:
        model.graph.output.append(onnx.helper.make_tensor_value_info(tap.tensor, onnx.TensorProto.FLOAT, tap.shape))
    return model


def choose_size(info: ModelInfo, imgsz: tuple[int, int] | None) -> tuple[tuple[int, int], str]:
    """Network input (height, width), and a note for the user when it had to be assumed.

    Raises:
        RkdeployError: when the size is not a multiple of the largest stride.
    """
    largest = max(info.strides, default=1)
    least = min(info.strides, default=1) if info.partial_cells else largest
    note = ""
    if imgsz is None and info.image_hw is not None:
        imgsz = info.image_hw
    if imgsz is None and info.usual_hw is not None:
        imgsz = info.usual_hw
        note = _assumed_size(f"{imgsz[1]}x{imgsz[0]}")
    if imgsz is None:
        assumed = info.usual_size or (224 if info.task == "classify" else 1280 if largest >= 64 else 640)
        size = info.training.image_size or assumed
        if info.training.image_size is None:
            note = _assumed_size(str(assumed))
        rounded = -(-size // largest) * largest
        imgsz = (rounded, rounded)
    if any(n < least or (n % largest and not info.partial_cells) for n in imgsz):
        near = tuple(max(largest, round(n / largest) * largest) for n in imgsz)
        raise RkdeployError(
            f"The input size {imgsz[1]}x{imgsz[0]} (width x height) is not a multiple of the largest stride, "
            f"{largest}.",
            f"Use --imgsz {near[1]}x{near[0]}.",
        )
    return imgsz, note


def _assumed_size(size: str) -> str:
    return (
        f"The checkpoint does not say what image size it was trained at; {size} is assumed. Give --imgsz if it was "
        "another."
    )
