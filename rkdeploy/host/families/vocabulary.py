"""Vocabulary of YOLO-World and YOLOE: the classes' vectors in a checkpoint, and the branches that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.tensor import LazyTensor

if TYPE_CHECKING:
    from rkdeploy.host.export.point_branches import PointBranches

OPEN_VOCABULARY: Final = frozenset({"WorldDetect", "YOLOEDetect", "YOLOESegment", "YOLOESegment26"})
"""Heads whose classes are vectors."""
_LENGTHS = (0.9, 1.1)  # of a text's vector, which is normalized; the package's placeholder has random ones of 22


def vectors_of(checkpoint: Checkpoint, head: Module, classes: int) -> NDArray[np.float32]:
    """The vectors of the classes, (classes, D); (0, 0) for a head that has them in its weights.

    Raises:
        CheckpointError: when the file has none, or not of its classes, with what to do.
    """
    if "lrpc" in head.children or head.attribute("is_fused", False):
        return np.zeros((0, 0), np.float32)
    world = head.class_name == "WorldDetect"
    stored = checkpoint.root.attribute("txt_feats" if world else "pe")
    advice = (
        f"Say which classes it is to find, and save it: from ultralytics import {'YOLOWorld' if world else 'YOLOE'}; "
        f'm = {"YOLOWorld" if world else "YOLOE"}("{checkpoint.path.name}"); m.set_classes(["person", "bus"]); '
        'm.save("mine.pt")'
    )
    if not isinstance(stored, LazyTensor):
        raise CheckpointError(
            f'"{checkpoint.path.name}" has an open vocabulary, and no vectors of the classes that it is to find.',
            advice,
        )
    if len(stored.shape) != 3 or stored.shape[:2] != (1, classes):
        raise CheckpointError(
            f'"{checkpoint.path.name}" has vectors of shape {stored.shape}, expected (1, {classes}, D) for its '
            f"{classes} classes.",
            advice,
        )
    vectors: NDArray[np.float32] = stored.numpy()[0].astype(np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not (np.isfinite(lengths).all() and _LENGTHS[0] < lengths.min() and lengths.max() < _LENGTHS[1]):
        raise CheckpointError(
            f'"{checkpoint.path.name}" has an open vocabulary, and placeholders for the vectors of its classes.', advice
        )
    return vectors


def branches_of(head: Module, prefix: str) -> PointBranches:
    """The branches of a head with an open vocabulary.

    Args:
        head: the head.
        prefix: `one2one_` or nothing, before the names of the branches in use.
    """
    from rkdeploy.host.export.open_vocabulary import CONTRAST, POINTWISE
    from rkdeploy.host.export.point_branches import PointBranches

    boxes, scores = head.child(f"{prefix}cv2"), head.child(f"{prefix}cv3")
    masks = head.child(f"{prefix}cv5") if head.class_name.startswith("YOLOESegment") else None
    if "lrpc" in head.children:
        closing = head.child(f"{prefix}lrpc" if f"{prefix}lrpc" in head.children else "lrpc")
        boxes = _each_level(boxes, lambda name, part: _made("Sequential", {
            "0": part, "1": closing.child(name).child("loc"),
        }))  # fmt: skip
        scores = _each_level(scores, lambda name, part: _made("Sequential", {
            "0": part, "1": _made(POINTWISE, {"layer": closing.child(name).child("vocab")}),
        }))  # fmt: skip
    elif not head.attribute("is_fused", False):
        contrast = head.child(f"{prefix}cv4")
        scores = _each_level(
            scores, lambda name, part: _made(CONTRAST, {"features": part, "contrast": contrast.child(name)})
        )
    return PointBranches(boxes, scores, masks, None, head.children.get("dfl"))


def unused_parts(head: Module) -> tuple[str, ...]:
    """Sub-modules that only serve other prompts, or training."""
    names = ["reprta", "savpe", "proto.semseg", "cv4", "one2one_cv4"] if head.class_name != "WorldDetect" else []
    if "lrpc" in head.children:
        names += [f"{part}.{level}.pf" for part in ("lrpc", "one2one_lrpc") for level in range(len(head.children))]
        names += ["lrpc", "one2one_lrpc"]
    return tuple(names)


def _each_level(parts: Module, make: object) -> Module:
    assert callable(make)
    return _made("ModuleList", {name: make(name, part) for name, part in parts.children.items()})


def _made(class_name: str, children: dict[str, Module]) -> Module:
    """A module of our own that holds modules of the checkpoint."""
    first = next(iter(children.values()))
    return Module(class_name, "", first.path, {}, {}, children, first.reads)
