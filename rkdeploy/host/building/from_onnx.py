"""A network from a foreign ONNX file, alone or with its checkpoint."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnx

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.errors import GraphError, RkdeployError
from rkdeploy.host.building.agreed_anchors import agreed_anchors
from rkdeploy.host.building.embedding_presets import VECTOR_KINDS
from rkdeploy.host.building.given_anchors import GIVEN, anchors_of_levels
from rkdeploy.host.building.map_presets import MAP_KINDS, map_task
from rkdeploy.host.building.network import Network
from rkdeploy.host.building.onnx_graph import OpenedGraph, open_graph
from rkdeploy.host.building.raw_outputs import completed, matching_export, note_of_unproven, with_usual_keypoints
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.families import darknet, ultralytics, yolop, yolov5, yolov5_face, yolov7
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.foreign_process import run_foreign
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_kinds import TEXT
from rkdeploy.host.graph.query_probe import PREPARED

_DARKNET_IMAGES = (
    "The ONNX file does not say how its images are prepared; RGB from 0 to 1, stretched, as darknet and pytorch-YOLOv4 "
    "have them, is assumed. If that is wrong, give --fit, --mean, --std, --color."
)
_LOG = logging.getLogger(__name__)


def from_onnx(
    file: Path,
    weights: Path | None,
    imgsz: tuple[int, int] | None,
    cfg: Path | None = None,
    anchors: tuple[float, ...] | None = None,
) -> Network:
    """Read an ONNX file, find its head and determine names and anchors.

    Args:
        file: the ONNX file.
        weights: the checkpoint that it was exported from; its anchors and names have precedence.
        imgsz: (height, width) of the network input, for a graph that leaves it free.
        cfg: the darknet cfg of a checkpoint that holds weights only.
        anchors: widths and heights in pixels for a graph that has neither a decode nor `weights`.

    Raises:
        RkdeployError: for any fault of the files, or when they do not belong together.
    """
    if weights is not None and anchors is not None:
        raise RkdeployError("--weights has the anchors already.", "Leave out --anchors.")
    checkpoint = read_checkpoint(weights, cfg) if weights is not None else None
    info = family_of(checkpoint).describe(checkpoint) if checkpoint is not None else None
    opened = run_foreign(file, partial(open_graph, file, imgsz, info, len(anchors or ()) // 2), OpenedGraph)
    proof = _proof(file, opened, checkpoint, info, anchors)
    head, info = proof.head, proof.info
    _LOG.debug(
        "%s: head %s with %d tensors (%s), decode %s",
        file.name,
        head.kind or "of several families",
        len(head.taps),
        ", ".join(dict.fromkeys(str(tap.role) for tap in head.taps)),
        "in the graph" if head.proves_decode else "not in the graph",
    )
    agreed, anchors_from = agreed_anchors(head, info)
    maps_note = _maps_note(head) if head.class_maps and info is None and head.kind not in MAP_KINDS else ""
    darknet_note = _DARKNET_IMAGES if _is_darknet(head) and info is None else ""
    return Network(
        file=file,
        sha256=sha256_of(file),
        weights=weights,
        family=info.family if info is not None else _family(head),
        task=info.task if info is not None else _task(head),
        trained=proof.reference,
        reference=proof.reference,
        simplified=proof.simplified,
        head=head,
        reference_head=proof.reference_head,
        input=proof.input,
        anchors=agreed,
        anchors_from=anchors_from if anchors is None else GIVEN,
        class_names=opened.class_names,
        info=info,
        notes=(*opened.notes, *(note for note in (proof.note, maps_note, darknet_note) if note)),
        foreign=True,
        prepares_pixels=bool(opened.divisor),
        given_grids=opened.given_grids,
        is_quantized=opened.is_quantized,
    )


@dataclass(frozen=True, slots=True)
class _Proof:
    """Graphs that the contract of an opened graph is verified against.

    Attributes:
        simplified: the graph to cut.
        head: of `simplified`, with what its proof adds.
        reference: the graph with a trained decode; where nothing proves one, the graph itself.
        reference_head: of `reference`.
        input: the image input of both graphs.
        info: what the checkpoint says; None without one.
        note: what the user should know of it, or nothing.
    """

    simplified: onnx.ModelProto
    head: Head
    reference: onnx.ModelProto
    reference_head: Head
    input: InputSpec
    info: ModelInfo | None
    note: str = ""


def _proof(
    file: Path,
    opened: OpenedGraph,
    checkpoint: Checkpoint | None,
    info: ModelInfo | None,
    anchors: tuple[float, ...] | None,
) -> _Proof:
    """The graph's own decode; for raw outputs the decode of the checkpoint's own graph; else nothing, with a note.

    Raises:
        RkdeployError: when the checkpoint does not fit, or anchors are missing or not wanted.
    """
    head, image = opened.head, _image(opened)
    if head.proves_decode:
        if anchors is not None:
            raise GraphError(f'"{file.name}" has a decode, with its own anchors.', "Leave out --anchors.")
        return _Proof(opened.simplified, head, opened.reference, head, image, info)
    if checkpoint is None or info is None:
        given = with_usual_keypoints(_with_given_anchors(head, anchors))
        note = note_of_unproven(file.name, given)
        return _Proof(opened.simplified, given, opened.reference, head, image, info, note)
    described, exported = matching_export(file, opened.simplified, head, checkpoint, info, opened.hw)
    return _Proof(
        simplified=_with_input_name(opened.simplified, opened.input_name, exported.input.name),
        head=completed(head, exported.head),
        reference=exported.model,
        reference_head=exported.head,
        input=exported.input,
        info=described,
    )


def _with_given_anchors(head: Head, anchors: tuple[float, ...] | None) -> Head:
    """The head with the anchors of --anchors; unchanged without the option.

    Raises:
        RkdeployError: when the head takes none, or another number.
    """
    if anchors is None:
        return head
    if not head.anchors_per_level:
        raise GraphError("The graph's head has no anchors.", "Leave out --anchors.")
    levels = len({tap.level for tap in head.taps if not tap.name})
    return replace(head, anchors=anchors_of_levels(anchors, levels, head.anchors_per_level))


def _maps_note(head: Head) -> str:
    assumed = "ImageNet's mean and deviation, as YOLOP's are" if _is_yolop(head) else "values from 0 to 1"
    return (
        f"The ONNX file does not say how its images are prepared; {assumed}, in RGB, are assumed. If that is wrong, "
        "give --mean, --std, --color."
    )


def _family(head: Head) -> str:
    """The family that the kind of head belongs to."""
    if _is_yolop(head):
        return yolop.NAME
    if head.anchors_per_level:
        if _is_darknet(head):
            return darknet.NAME
        if head.keypoints is None:
            return yolov5.NAME
        return yolov7.NAME if head.keypoints.scored else yolov5_face.NAME
    if head.kind in MAP_KINDS or head.kind in VECTOR_KINDS or head.kind == TEXT:
        return "onnx"
    if head.kind:
        return head.kind
    return "onnx" if _task(head) == "classify" else ultralytics.NAME


def _is_darknet(head: Head) -> bool:
    """True if the graph decodes boxes as darknet does."""
    return head.anchor_formula is not None and head.anchor_formula.size == "exp"


def _is_yolop(head: Head) -> bool:
    """True if the graph has YOLOP's class maps, by upstream's names of them."""
    return head.class_maps == tuple(yolop.CLASS_MAPS.values())


def _task(head: Head) -> Task:
    if head.embedding is not None:
        return "embedding"
    if any(tap.role == "text_logits" for tap in head.taps):
        return "text"
    if any(tap.role == "class_scores" for tap in head.taps):
        return "classify"
    if head.kind in MAP_KINDS:  # a preset may say something else of one value per pixel
        return map_task(head)
    if head.masks:
        return "segment"
    if head.keypoints is not None:
        return "pose"
    return "detect" if head.angle is None else "obb"


def _image(opened: OpenedGraph) -> InputSpec:
    """The usual input of these families' exporters: RGB from 0 to 1, stretched for Ultralytics' RT-DETR; YOLOP's
    normalized like ImageNet's images.
    """
    head, name, hw = opened.head, opened.input_name, opened.hw
    if opened.divisor:
        return InputSpec(name, *hw, std=(opened.divisor,) * 3)
    if _is_yolop(head):
        return InputSpec(name, *hw, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if head.kind == PREPARED or _is_darknet(head):
        return InputSpec(name, *hw, fit="stretch")
    return InputSpec(name, *hw, fit="center_crop" if _task(head) == "classify" else "letterbox")


def _with_input_name(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto:
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    for node in renamed.graph.node:
        for index, value in enumerate(node.input):
            if value == old:
                node.input[index] = new
    for info in renamed.graph.input:
        if info.name == old:
            info.name = new
    return renamed
