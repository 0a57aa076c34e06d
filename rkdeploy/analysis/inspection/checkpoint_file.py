"""Facts of a `.pt` or `.pth`.  Nothing in it is executed."""

from __future__ import annotations

from pathlib import Path

from rkdeploy.analysis.inspection.inspection import (
    CheckpointInspection,
    Inspection,
    Refusal,
    UnsupportedCheckpointInspection,
    listed_names,
)
from rkdeploy.errors import CheckpointError, GraphError, RkdeployError
from rkdeploy.host.checkpoint import Checkpoint, read_checkpoint
from rkdeploy.host.families.checkpoint_facts import layers_of, training_facts
from rkdeploy.host.families.checkpoint_kinds import kind_of, kind_of_model, require_buildable
from rkdeploy.host.families.model_info import ModelInfo
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.families.speed_advice import advice_for


def inspect_checkpoint(path: Path, cfg: Path | None = None) -> Inspection:
    """Read a checkpoint.

    Args:
        path: the file.
        cfg: the darknet cfg of weights without a model.

    Raises:
        RkdeployError: when it cannot be read, or nothing about it is known.
    """
    checkpoint = read_checkpoint(path, cfg)
    try:
        info = family_of(checkpoint).describe(checkpoint)
    except CheckpointError as error:
        kind = kind_of(checkpoint)
        if kind is None:
            raise
        return _named(checkpoint, kind.name, error)
    found, kind = refusal_of(checkpoint), kind_of_model(checkpoint)
    rows = _rows(info)
    if kind is not None:
        rows.insert(0, ("is", kind.name))
    document = CheckpointInspection.of(
        info,
        file=path.name,
        unsupported=kind.name if kind is not None else "",
        refused=Refusal.of(found),
        needed=needed_by(info) if found is None else "",
        advice=advice_for(info) if found is None else (),
    )
    return Inspection(tuple(rows), document)


def needed_by(info: ModelInfo) -> str:
    """The options that a build needs because the checkpoint does not say it; empty if there are none."""
    try:
        from rkdeploy.host.building.presets import presets_of
    except ImportError:  # the packages to build are missing: a build names them before anything else
        return ""
    presets = presets_of(info.family)
    if not presets or info.says_images:  # RetinaFace's checkpoints say more than its ONNX
        return ""
    needed = [f"what prepared its images: --preset {' or '.join(presets)}"]
    if info.training.image_size is None:
        needed.append("its input size: --imgsz")
    if not info.has_class_names:
        needed.append("its class names: --names")
    return "; ".join(needed)


def refusal_of(checkpoint: Checkpoint) -> RkdeployError | None:
    """The reason why a checkpoint that a family describes does not build; None if no reason is known."""
    try:
        require_buildable(checkpoint)
        _require_known_layers(checkpoint)
    except RkdeployError as error:
        return error
    return None


def _require_known_layers(checkpoint: Checkpoint) -> None:
    """Refuse a layer that no emitter writes; nothing is said where the packages to write graphs are missing.

    Raises:
        GraphError: naming the first such layer.
    """
    try:
        from rkdeploy.host.export.known_layers import is_known
    except ImportError:
        return
    unknown = next((layer for layer in layers_of(checkpoint)[:-1] if not is_known(layer.class_name)), None)
    if unknown is not None:
        raise GraphError(
            f'Block "{unknown.module_name}.{unknown.class_name}" at "{unknown.path}" is not known.',
            "Export ONNX where the model was trained and build from that: rkdeploy build best.onnx --weights best.pt",
        )


def _named(checkpoint: Checkpoint, kind: str, error: CheckpointError) -> Inspection:
    """A checkpoint that no family describes, but whose kind is known."""
    parts, training = tuple(checkpoint.root.children)[:12], training_facts(checkpoint)
    rows = (
        ("is", kind),
        ("parts", ", ".join(parts)),
        ("parameters", f"{training.parameters:,}"),
        ("weights", f"{training.weights}, stored as {training.stored_dtype}"),
    )
    document = UnsupportedCheckpointInspection(
        file=checkpoint.path.name, unsupported=kind, parts=parts, training=training, refused=Refusal.of(error)
    )
    return Inspection(rows, document)


def _rows(info: ModelInfo) -> list[tuple[str, str]]:
    rows = [
        ("family", f"{info.family}, {info.generation}"),
        ("task", info.task),
        ("classes", listed_names(info.class_names)),
    ]
    if info.strides:
        rows.append(("strides", " ".join(str(s) for s in info.strides)))
    rows += _task_rows(info)
    if info.anchors is not None:
        for stride, level in zip(info.strides, info.anchors.levels_px, strict=True):
            rows.append((f"anchors, stride {stride}", "  ".join(f"{w:.6g},{h:.6g}" for w, h in level) + " px"))
        rows.append(("", anchor_sentence(info)))
    training = info.training
    rows += [
        ("activation", ", ".join(info.activation)),
        ("blocks", ", ".join(f"{count} {name}" for name, count in info.blocks)),
        ("parameters", f"{training.parameters:,}"),
        ("training size", f"{training.image_size} px" if training.image_size else "not in the file"),
        ("weights", f"{training.weights}, stored as {training.stored_dtype}"),
        ("epoch", {None: "not in the file", -1: "stripped after training"}.get(training.epoch, str(training.epoch))),
        ("saved", training.date or "not in the file"),
    ]
    return rows


def _task_rows(info: ModelInfo) -> list[tuple[str, str]]:
    """Parts of the head other than boxes and classes."""
    rows = []
    if info.dual_head:
        taken = "one-to-one (no suppression)" if info.end_to_end else "one-to-many (with suppression)"
        rows.append(("heads", f"two; taken: {taken}; --nms or --no-nms chooses"))
    if info.keypoints is not None:
        scored = "with" if info.keypoints.scored else "without"
        rows.append(("keypoints", f"{info.keypoints.count}, {scored} visibility"))
    if info.masks:
        rows.append(("masks", f"{info.masks} coefficients"))
    if info.angle is not None:
        rows.append(("boxes", "rotated"))
    if info.class_maps:
        rows.append(("maps", ", ".join(info.class_maps)))
    return rows


def anchor_sentence(info: ModelInfo) -> str:
    """A comparison of the anchors with the published defaults."""
    comparison = info.anchor_comparison
    if comparison is None:
        return ""
    defaults = f"{comparison.data_set}'s default anchors"
    if comparison.are_defaults:
        return f"These are {defaults}."
    if comparison.largest_ratio is None:
        return f"Not {defaults}, which have another number of them."
    return f"Not {defaults}: sides differ by a factor of up to {comparison.largest_ratio:.2f}."
