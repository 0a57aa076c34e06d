"""A network from an ONNX file that somebody else exported, alone or with its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.contract.spec import Anchors, InputSpec, Task
from rkdeploy.errors import GraphError, RkdeployError, shown
from rkdeploy.host.building.from_checkpoint import choose_size
from rkdeploy.host.building.given_anchors import GIVEN, anchors_of_levels
from rkdeploy.host.building.graph_kind import find_named_head, require_image_model
from rkdeploy.host.building.network import Network, describe_anchors
from rkdeploy.host.building.raw_outputs import NOT_A_PAIR, completed, matching_export, note_of_unproven
from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families import ultralytics, yolop, yolov5
from rkdeploy.host.families.imagenet import IMAGENET_MEAN, IMAGENET_STD
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.foreign import (
    class_names,
    exported_size,
    image_input,
    load_onnx,
    to_float32,
    to_supported_opset,
    with_static_input,
)  # fmt: skip
from rkdeploy.host.graph.foreign_process import run_foreign
from rkdeploy.host.graph.foreign_sizes import require_fixed_work, require_small_constants
from rkdeploy.host.graph.gray import GRAY_NOTE, fold_gray, is_made_gray, with_color_input
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.padded_pooling import without_padded_pooling
from rkdeploy.host.graph.session import Session
from rkdeploy.host.graph.simplify import simplify
from rkdeploy.host.graph.view import GraphView

_ANCHOR_TOLERANCE = 1e-3  # px, for anchors that went through float32 decode arithmetic
_MULTIPLES = "Use multiples of its largest stride for --imgsz, usually 32 or 64."
_HALF_TOLERANCE = 2e-3  # relative, for anchors that an exporter stored as float16


@dataclass(frozen=True, slots=True)
class _Opened:
    """An ONNX file as it was read.

    Attributes:
        reference: the graph with its axes fixed, and the decoded rows among its outputs where it has them.
        simplified: the graph to cut.
        head: of `simplified`.
        input_name: of the image input.
        hw: (height, width) of it.
        class_names: one per class.
        notes: what the user should know.
    """

    reference: onnx.ModelProto
    simplified: onnx.ModelProto
    head: Head
    input_name: str
    hw: tuple[int, int]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def from_onnx(
    file: Path,
    weights: Path | None,
    imgsz: tuple[int, int] | None,
    cfg: Path | None = None,
    anchors: tuple[float, ...] | None = None,
) -> Network:
    """Read an ONNX file, find its head and settle on names and anchors.

    Args:
        file: the ONNX file.
        weights: the checkpoint that it was exported from, whose anchors and names count.
        imgsz: (height, width) of the network input, for a graph that leaves it free.
        cfg: the darknet cfg of a checkpoint that holds weights only.
        anchors: widths and heights in pixels for a graph that has neither a decode nor `weights`.

    Raises:
        RkdeployError: whatever is wrong with the files, or when they do not belong together.
    """
    if weights is not None and anchors is not None:
        raise RkdeployError("--weights has the anchors already.", "Leave out --anchors.")
    checkpoint = read_checkpoint(weights, cfg) if weights is not None else None
    info = family_of(checkpoint).describe(checkpoint) if checkpoint is not None else None
    opened = run_foreign(file, partial(_opened, file, imgsz, info, len(anchors or ()) // 2), _Opened)
    simplified, head, reference, notes = opened.simplified, opened.head, opened.reference, list(opened.notes)
    reference_head, image = head, _image(head, opened.input_name, opened.hw)
    if not head.proves_decode:  # raw outputs: the graph cannot prove a decode, the checkpoint's own graph can
        if checkpoint is None or info is None:
            head = _with_given_anchors(head, anchors)
            notes.append(note_of_unproven(file.name, head))
        else:
            info, exported = matching_export(file, simplified, head, checkpoint, info, opened.hw)
            head = completed(head, exported.head)
            reference, reference_head, image = exported.model, exported.head, exported.input
            simplified = _with_input_name(simplified, opened.input_name, image.name)
    elif anchors is not None:
        raise GraphError(f'"{file.name}" has a decode, with its own anchors.', "Leave out --anchors.")
    if head.class_maps and info is None:
        notes.append(_maps_note(head))
    agreed, anchors_from = _agreed_anchors(head, info)
    return Network(
        file=file,
        sha256=sha256_of(file),
        weights=weights,
        family=info.family if info is not None else _family(head),
        task=info.task if info is not None else _task(head),
        trained=reference,
        reference=reference,
        simplified=simplified,
        head=head,
        reference_head=reference_head,
        input=image,
        anchors=agreed,
        anchors_from=anchors_from if anchors is None else GIVEN,
        class_names=opened.class_names,
        info=info,
        notes=tuple(notes),
        foreign=True,
    )


def _with_given_anchors(head: Head, anchors: tuple[float, ...] | None) -> Head:
    """The head with what --anchors says; the same without the option.

    Raises:
        RkdeployError: when the head takes none, or another number.
    """
    if anchors is None:
        return head
    if not head.anchors_per_level:
        raise GraphError("The graph's head has no anchors.", "Leave out --anchors.")
    levels = len({tap.level for tap in head.taps if not tap.name})
    return replace(head, anchors=anchors_of_levels(anchors, levels, head.anchors_per_level))


def _opened(file: Path, imgsz: tuple[int, int] | None, info: ModelInfo | None, anchors: int) -> _Opened:
    """Read, rewrite and probe the graph; called in a process of its own, since all of that can crash.

    Args:
        file: the ONNX file.
        imgsz: (height, width) that the user wants.
        info: of the checkpoint, None without.
        anchors: how many the user says that there are; 0 for nothing said.

    Raises:
        GraphError: whatever is wrong with it, or when it does not fit the checkpoint.
    """
    loaded = to_float32(load_onnx(file))
    require_image_model(loaded)
    model = with_color_input(loaded)
    name, shape = image_input(model)
    if shape[0] not in (None, 1):
        raise GraphError(f'Input "{name}" has a batch of {shape[0]}, expected 1.', _batch_advice(model))
    hw, notes = _onnx_size(name, shape, imgsz, info, exported_size(model))
    if is_made_gray(model):
        notes.append(GRAY_NOTE)
    Session(model, optimized=False)  # says what is wrong with a damaged graph; onnx's shape inference crashes (1.18)
    # Only its axes are fixed: `verify` then proves everything that is done to the other graph.
    reference = with_static_input(model, (1, 3, *hw))
    simplified = fold_gray(to_supported_opset(without_padded_pooling(_simplified(reference, name, shape, hw))))
    require_small_constants(simplified)
    classes = len(info.class_names) if info is not None else None
    headed, head = _head_at(simplified, classes, hw, anchors, free=None in shape[2:])
    require_fixed_work(headed, simplified, (tap.tensor for tap in head.taps))
    if info is not None:
        _require_same_levels(head, info)
    names = _onnx_names(model, head, info, notes)
    return _Opened(_with_decoded_table(reference, headed, head), headed, head, name, hw, names, tuple(notes))


def _batch_advice(model: onnx.ModelProto) -> str:
    """The option of the exporter that wrote the file."""
    written = {entry.key: entry.value for entry in model.metadata_props}
    if written.get("author") == "Ultralytics":
        return "Export it again with batch=1."
    if {"names", "stride"} <= written.keys():
        return "Export it again with --batch-size 1."
    return "Export it again with a batch of 1: batch=1 (Ultralytics), --batch-size 1 (YOLOv5)."


def _maps_note(head: Head) -> str:
    assumed = "ImageNet's mean and deviation, as YOLOP's are" if _is_yolop(head) else "values from 0 to 1"
    return (
        f"The ONNX file does not say how its images are prepared; {assumed}, in RGB, are assumed. If it was otherwise, "
        "give --mean, --std, --color."
    )


def _with_decoded_table(reference: onnx.ModelProto, simplified: onnx.ModelProto, head: Head) -> onnx.ModelProto:
    """The reference with the decoded rows among its outputs, where the graph goes on behind them.

    Simplification keeps the names of most tensors; where it did not, the simplified graph is the reference itself.
    """
    if head.rows is None or head.rows.output in (graph := GraphView(reference)).outputs:
        return reference
    table = onnx.ModelProto()
    table.CopyFrom(reference if head.rows.output in graph.producers else simplified)
    table.graph.output.append(onnx.helper.make_empty_tensor_value_info(head.rows.output))
    return table


def _family(head: Head) -> str:
    """The family that the kind of head belongs to."""
    if _is_yolop(head):
        return yolop.NAME
    if head.anchors_per_level:
        return yolov5.NAME
    return "onnx" if _task(head) == "classify" else ultralytics.NAME


def _is_yolop(head: Head) -> bool:
    """Whether the graph has YOLOP's class maps, by upstream's names of them."""
    return head.class_maps == tuple(yolop.CLASS_MAPS.values())


def _task(head: Head) -> Task:
    if any(tap.role == "class_scores" for tap in head.taps):
        return "classify"
    if head.masks:
        return "segment"
    if head.keypoints is not None:
        return "pose"
    return "detect" if head.angle is None else "obb"


def _image(head: Head, name: str, hw: tuple[int, int]) -> InputSpec:
    """What the exporters of these families feed: RGB from 0 to 1, YOLOP's normalized as ImageNet's images."""
    if _is_yolop(head):
        return InputSpec(name, *hw, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return InputSpec(name, *hw, fit="center_crop" if _task(head) == "classify" else "letterbox")


def _onnx_size(
    name: str,
    shape: tuple[int | None, ...],
    imgsz: tuple[int, int] | None,
    info: ModelInfo | None,
    exported: tuple[int, int] | None,
) -> tuple[tuple[int, int], list[str]]:
    """The network input (height, width) that the file and --imgsz agree on, and notes for the user."""
    height, width = shape[2], shape[3]
    if height is not None and width is not None:
        if imgsz is not None and imgsz != (height, width):
            raise GraphError(
                f'Input "{name}" is fixed at {width}x{height} (width x height), expected {imgsz[1]}x{imgsz[0]} from '
                "--imgsz.",
                f"Leave out --imgsz, or export it at that size: imgsz={imgsz[0]},{imgsz[1]} (Ultralytics), --imgsz "
                f"{imgsz[0]} {imgsz[1]} (YOLOv5).",
            )
        return (height, width), []
    if imgsz is not None:
        if any(fixed not in (None, wanted) for fixed, wanted in zip((height, width), imgsz, strict=True)):
            raise GraphError(
                f'Input "{name}" is {width or "free"} wide and {height or "free"} high, expected {imgsz[1]}x{imgsz[0]} '
                "(width x height) from --imgsz.",
                "Export it with both axes free: dynamic=True (Ultralytics), --dynamic (YOLOv5).",
            )
        return (imgsz if info is None else choose_size(info, imgsz)[0]), []
    if height is None and width is None and info is not None and info.image_size is not None:
        size, _ = choose_size(info, None)
        return size, [f"The graph's input size is free; the training size {size[1]}x{size[0]} is used."]
    if height is None and width is None and exported is not None:
        used = f"{exported[1]}x{exported[0]} (width x height), the size of the export"
        return exported, [f"The graph's input size is free; {used}, is used. Give --imgsz for another."]
    raise GraphError(
        f'The size of input "{name}" is free ({width or "?"}x{height or "?"}, width x height), expected one size.',
        "Fix it with --imgsz WIDTHxHEIGHT.",
    )


def _head_at(
    simplified: onnx.ModelProto, classes: int | None, hw: tuple[int, int], anchors: int, *, free: bool
) -> tuple[onnx.ModelProto, Head]:
    """The head; where the graph left its size free, the size that was chosen is suspected first."""
    try:
        return find_named_head(simplified, classes, anchors)
    except GraphError as error:
        if not free or all(n % 64 == 0 for n in hw):
            raise
        raise GraphError(error.message, f"At {hw[0]}x{hw[1]} (height x width). {_MULTIPLES}") from error


def _simplified(
    reference: onnx.ModelProto, name: str, shape: tuple[int | None, ...], hw: tuple[int, int]
) -> onnx.ModelProto:
    try:
        return simplify(reference, {name: (1, 3, *hw)})
    except GraphError as error:
        if None not in shape[2:] or all(n % 64 == 0 for n in hw):
            raise
        raise GraphError(
            f"The graph cannot be fixed at {hw[0]}x{hw[1]} (height x width): {error.message}",
            _MULTIPLES,
        ) from error


def _onnx_names(model: onnx.ModelProto, head: Head, info: ModelInfo | None, notes: list[str]) -> tuple[str, ...]:
    try:
        written = class_names(model)
    except GraphError:
        if info is None:
            raise
        written = None  # the checkpoint's count
    names = info.class_names if info is not None else written
    if names is None:
        notes.append("The ONNX file has no class names and no --weights was given; they are class_0, class_1, ...")
        return tuple(f"class_{i}" for i in range(head.classes))
    if len(names) != head.classes:
        raise GraphError(
            f"The head predicts {head.classes} classes, but {'the checkpoint' if info else 'the metadata'} has "
            f"{len(names)} class names.",
            "The ONNX file and the names do not belong together; give the checkpoint that it was exported from with "
            "--weights.",
        )
    if written is not None and written != names:
        notes.append(f"The ONNX file names its classes {shown(written)}; the checkpoint's names are used.")
    return names


def _require_same_levels(head: Head, info: ModelInfo) -> None:
    """The graph's levels must be the checkpoint's before anything on them can be compared.

    Raises:
        GraphError: when strides or the number of anchors differ.
    """
    strides = tuple(dict.fromkeys(tap.stride for tap in head.taps if not tap.name))
    expected = tuple(sorted(info.strides))
    if strides != expected:
        raise GraphError(
            f"The ONNX graph's head has strides {strides}, expected {expected} from the checkpoint.", NOT_A_PAIR
        )
    per_level = _finest_first(info).per_level if info.anchors is not None else 0
    if head.anchors_per_level != per_level:
        raise GraphError(
            f"The ONNX graph's head has {head.anchors_per_level} anchors a level, expected {per_level} from the "
            "checkpoint.",
            NOT_A_PAIR,
        )


def _agreed_anchors(head: Head, info: ModelInfo | None) -> tuple[Anchors | None, str | None]:
    """The checkpoint's anchors where there is one, which must then be the graph's too; None for anchor-free heads."""
    in_graph = head.anchors
    if not head.anchors_per_level:
        return None, None
    if info is None:
        return in_graph, "graph"
    anchors = _finest_first(info)
    if in_graph is not None:
        own, graph = (np.array(a.levels_px, np.float64) for a in (anchors, in_graph))
        if (np.abs(own - graph) > _ANCHOR_TOLERANCE + _HALF_TOLERANCE * own).any():
            raise GraphError(
                f"The ONNX graph and the checkpoint have different anchors (px).\n"
                f"  checkpoint: {describe_anchors(anchors)}\n  graph:      {describe_anchors(in_graph)}",
                "They are of different models, or the graph was exported before autoanchor chose new ones: "
                "give the checkpoint that the graph was exported from.",
            )
        if (np.abs(own - graph) > _ANCHOR_TOLERANCE).any():
            # Exported as float16: this graph decodes with the rounded anchors, and so must we.
            return in_graph, "graph, as the checkpoint's rounded to float16"
    return anchors, "checkpoint"


def _finest_first(info: ModelInfo) -> Anchors:
    """The checkpoint's anchors in the order of the contract's levels, whatever the order of its head's inputs."""
    assert info.anchors is not None
    return Anchors(
        tuple(level for _, level in sorted(zip(info.strides, info.anchors.levels_px, strict=True), key=lambda p: p[0]))
    )


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
