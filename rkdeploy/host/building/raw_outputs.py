"""A graph that ends in raw head tensors: completed by a checkpoint, or read with assumptions without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.errors import GraphError
from rkdeploy.host.building.from_checkpoint import with_taps
from rkdeploy.host.building.presets import fitting
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.export.exported import Exported
from rkdeploy.host.families.checkpoint_kinds import require_buildable
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.foreign_process import Runs, run_foreign
from rkdeploy.host.graph.head import Head, Tap
from rkdeploy.host.graph.head_kinds import FASTEST, SHARED
from rkdeploy.host.graph.session import Session

NOT_A_PAIR = "They are of different models: give the checkpoint that the graph was exported from."
_YOLOV8_BOXES = 64
_KNOWN_BOXES = {
    4: "four distances in cells, as YOLOv6 and YOLO26 have them",
    64: "distributions over 16 distances, as YOLOv8 to 12 have them",
    68: "distributions over 17 distances, as YOLOv6 and PP-YOLOE have them",
}
"""Channels of the boxes -> assumption about them, if nothing proves it."""
_ARMOR_FIELDS = 29
_ARMOR = (
    " yolov5-RM's 29 numbers per anchor are box, objectness, 5 landmarks, 8 classes, 4 colors and 2 sizes: colors and "
    "sizes are not read by this version."
)
ASSUMED_IMAGES = "images are RGB from 0 to 1, letterboxed"
_KINDS = {
    "yolox": "YOLOX's (centers and logarithms of sizes, class times objectness)",
    "yunet": "YuNet's (centers and logarithms of sizes, the root of class times objectness)",
    "nanodet": "NanoDet's or PicoDet's (distributions over 8 distances)",
    "picodet": "PicoDet's (distributions over 8 distances, the root of class times objectness)",
    "rtmdet": "RTMDet's (four distances)",
    "retinaface": "RetinaFace's (boxes and landmarks relative to anchors, which the preset says)",
    "ssd": "SSD's (boxes relative to anchors, which the preset says)",
    FASTEST: "FastestDet's (tangents of centers, shares of the input, powers of objectness and of a softmax)",
    SHARED: "Yolo-FastestV2's (anchors, which --anchors or the preset says, and a softmax of classes that a cell's "
    "anchors share)",
    "scrfd": "SCRFD's (distances and landmarks from the cells' corners, two boxes per cell)",
}
"""Kinds of heads that are recognized by their form -> how they are read."""


def matching_export(
    file: Path, simplified: onnx.ModelProto, head: Head, checkpoint: Checkpoint, info: ModelInfo, hw: tuple[int, int]
) -> tuple[ModelInfo, Exported]:
    """The checkpoint's own graph, whose decode proves the meaning of the raw tensors.

    For a checkpoint with two heads (YOLOv10, YOLO26) the graph may have either: the one with the same values is taken.

    Args:
        file: the ONNX file.
        simplified: its graph, which ends in raw tensors.
        head: head of the graph.
        checkpoint: the checkpoint that it was exported from.
        info: the checkpoint's facts.
        hw: (height, width) of the input in pixels.

    Raises:
        RkdeployError: when the checkpoint cannot be exported, or has other tensors.
    """
    require_buildable(checkpoint)
    family = family_of(checkpoint)
    choices = [info, replace(info, end_to_end=not info.end_to_end)] if info.dual_head else [info]
    exports = [(choice, family.export(checkpoint, choice, *hw)) for choice in choices]
    for _, exported in exports:
        _require_same_tensors(head, exported.head)
    if len(exports) == 1:
        return exports[0]
    own = _with_outputs(simplified, head.taps)
    graphs = [exported for _, exported in exports]
    return exports[run_foreign(file, lambda: _nearest(own, head.taps, graphs), int, Runs.of(own, 1 + len(graphs)))]


def _nearest(own: onnx.ModelProto, taps: Sequence[Tap], exports: Sequence[Exported]) -> int:
    """Index of the export whose values are closest to the graph's own."""
    given = _on_noise(own, taps)
    return int(np.argmin([_distance(given, _on_noise(with_taps(e), e.head.taps)) for e in exports]))


def completed(head: Head, exported: Head) -> Head:
    """The head, with the facts that its graph leaves open from the checkpoint."""
    return replace(head, end_to_end=exported.end_to_end, keypoints=exported.keypoints, angle=exported.angle)


def with_usual_keypoints(head: Head) -> Head:
    """The head with YOLOv8's formula of keypoints, where its boxes are YOLOv8's and it does not say another.

    Unchanged where the number of channels does not say whether keypoints have a score: with those of 12 there may be
    4 with a score, or 6 without.
    """
    roles = {tap.role: tap.shape[1] for tap in head.taps}
    channels = roles.get("keypoints", 0)
    scored, plain = channels % 3 == 0, channels % 2 == 0
    if head.keypoints is not None or roles.get("dfl_boxes") != _YOLOV8_BOXES or not channels or scored is plain:
        return head
    return replace(head, keypoints=KeypointLayout(channels // (3 if scored else 2), scored, gain=2.0, offset=0.0))


def note_of_unproven(file: str, head: Head) -> str:
    """The assumptions about a graph of raw tensors without a checkpoint to prove them.

    Args:
        file: name of the ONNX file.
        head: head of the graph.

    Raises:
        GraphError: when it does not contain enough to be read.
    """
    way_out = f"Give the checkpoint it was exported from: rkdeploy build {file} --weights best.pt"
    raw = f'"{file}" ends in raw head outputs'
    if head.kind:
        return (
            f"{raw}: the form of the head says that it is {_KINDS[head.kind]}, and nothing proves that it is decoded "
            "right. Overlapping boxes are suppressed. Look at the pictures of the report."
        )
    if head.anchors is not None and head.anchors_per_level:
        return (
            f"{raw}, and no --weights were given: nothing proves that they are decoded correctly. With --anchors, "
            f"boxes are read as YOLOv5 and YOLOv7 decode them, and the {head.classes} numbers behind objectness as "
            "classes, or as landmarks and classes where --names has fewer; images are RGB from 0 to 1, letterboxed. To "
            "have it proven, give the checkpoint with --weights."
            + (_ARMOR if 5 + head.classes == _ARMOR_FIELDS else "")
        )
    if head.anchors_per_level:
        fields = 5 + head.classes + head.masks
        raise GraphError(
            f"{raw} with {head.anchors_per_level} anchors of {fields} fields (box, objectness, then "
            f"{fields - 5} of classes or other things): it has no decode, and therefore no anchors.",
            f"{way_out}; or say both: its anchors with --anchors and its classes with --names. If there are fewer "
            f"names than {fields - 5}, x and y of landmarks come before the classes, as YOLOv5-face has them."
            + (_ARMOR if fields == _ARMOR_FIELDS else ""),
        )
    roles = {tap.role: tap.shape[1] for tap in head.taps}
    if "keypoints" in roles and head.keypoints is None:
        raise GraphError(f"{raw}: it has no decode, and does not say how its keypoints are read.", way_out)
    if "angles" in roles and head.angle is None:
        raise GraphError(f"{raw}: it has no decode, and does not say how its angles are read.", way_out)
    channels = roles.get("dfl_boxes", 4)
    if channels not in _KNOWN_BOXES:
        known = ", ".join(str(n) for n in sorted(_KNOWN_BOXES))
        raise GraphError(f"{raw}: it has no decode, and its boxes have {channels} channels, expected {known}.", way_out)
    return (
        f"{raw}, and no --weights were given: nothing proves that they are decoded correctly. Boxes are read as "
        f"{_KNOWN_BOXES[channels]}{_said_of_keypoints(head)}; overlapping boxes are suppressed; {ASSUMED_IMAGES}. To "
        f"have it proven, give the checkpoint with --weights.{_other_packages(head)}"
    )


def _said_of_keypoints(head: Head) -> str:
    """The formula of keypoints, as a part of a sentence; empty without any."""
    if head.keypoints is None:
        return ""
    return f", and {head.keypoints.count} keypoints by the formula of YOLOv8 and 11"


def _other_packages(head: Head) -> str:
    """Presets of other packages whose raw heads look the same; may be empty."""
    names = fitting(head)
    return f" If it is of another package, say it: --preset {', '.join(names)}." if names else ""


def _require_same_tensors(head: Head, exported: Head) -> None:
    """Check that the tensors are the checkpoint's, which prove them.

    Raises:
        GraphError: when one of the two has others.
    """
    own, expected = ([tap.name for tap in found.taps if tap.name] for found in (head, exported))
    if own != expected:
        raise GraphError(
            f"The ONNX graph has in addition to its head: {', '.join(own) or 'nothing'}; the checkpoint: "
            f"{', '.join(expected) or 'nothing'}.",
            NOT_A_PAIR,
        )
    if head.anchors_per_level:
        return  # one map per level, whose fields are counted with the classes
    shown, wanted = (_described(found.taps) for found in (head, exported))
    if shown != wanted:
        raise GraphError(f"The ONNX graph's head has {shown}, expected {wanted} from the checkpoint.", NOT_A_PAIR)


def _described(taps: Sequence[Tap]) -> str:
    """The tensors of a level with their channels."""
    first = [tap for tap in taps if not tap.name and tap.level == 0]
    return ", ".join(f"{tap.role} ({tap.shape[1]} channels)" for tap in first) or "no tensors"


def _with_outputs(model: onnx.ModelProto, taps: Sequence[Tap]) -> onnx.ModelProto:
    """The graph with the taps as its only outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(t.tensor, onnx.TensorProto.FLOAT, t.shape) for t in taps
    )
    return shown


def _on_noise(model: onnx.ModelProto, taps: Sequence[Tap]) -> list[NDArray[np.float32]]:
    """The taps on one image of seeded noise, in their order."""
    image = model.graph.input[0]
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim]
    pixels = np.random.default_rng(0).random(shape, np.float32)
    values = Session(model).run({image.name: pixels})
    return [values[tap.tensor] for tap in taps]


def _distance(given: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> float:
    """Mean difference of two lists of tensors of the same shapes."""
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(given, expected, strict=True)]))
