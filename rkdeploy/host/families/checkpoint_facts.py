"""Facts that checkpoints of several families store in the same places, read as untrusted data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from rkdeploy.contract.class_names import ordered_names
from rkdeploy.contract.spec import Anchors, is_class_name
from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.tensor import LazyTensor
from rkdeploy.host.families.model_info import ACTIVATION_CLASSES, ModelInfo, TrainingFacts

_MAX_STRIDE = 1024
_MAX_LEVELS = 16
_MAX_CLASSES = 100_000
_MAX_NAMES = 2_000_000  # in all class names together
_MAX_ANCHORS = 100  # per level; trainers make 3 to 5
_MAX_MASKS = 4096
_MAX_ANCHOR_PX = 1e5


def weights_of(checkpoint: Checkpoint) -> Module:
    """The network's part of the state dict, without the wrappers that training puts around it."""
    root = checkpoint.root
    for name in ("state_dict", "model", "module", "net"):
        if list(root.children) == [name]:
            root = root.children[name]
    return root


def layers_of(checkpoint: Checkpoint) -> tuple[Module, ...]:
    """The layer list of a YOLO model, its head last; empty if there is none."""
    model = checkpoint.root.children.get("model")
    if model is None or model.class_name != "Sequential":
        return ()
    return tuple(model.children.values())


def head_of(checkpoint: Checkpoint) -> Module | None:
    """The last layer."""
    layers = layers_of(checkpoint)
    return layers[-1] if layers else None


def activations(modules: Iterator[Module]) -> Counter[str]:
    """Number of activations of each class."""
    found = Counter(m.class_name for m in modules if m.class_name in ACTIVATION_CLASSES)
    del found["Identity"]
    return found


def numbers(value: object) -> tuple[float, ...]:
    """A short list of numbers, or tensor, as floats; empty for anything else."""
    if isinstance(value, LazyTensor) and value.numel <= _MAX_LEVELS:
        value = value.numpy().ravel().tolist()
    if isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in value):
        return tuple(float(v) for v in value)
    return ()


def strides_of(checkpoint: Checkpoint, head: Module, levels: int) -> tuple[int, ...]:
    """Input pixels per cell, one per level.

    Raises:
        CheckpointError: when they are not whole numbers, or not one per level.
    """
    strides = numbers(head.attribute("stride") or head.tensors.get("stride")) or numbers(
        checkpoint.root.attribute("stride")
    )
    whole = tuple(round(s) if 1 <= s <= _MAX_STRIDE else 0 for s in strides)
    if len(whole) != levels or any(s < 1 or abs(s - v) > 1e-3 for s, v in zip(whole, strides, strict=True)):
        raise CheckpointError(f'"{head.path}" has strides {shown(strides)}, expected {levels} whole numbers of pixels.')
    return whole


def anchors_of(head: Module) -> Anchors:
    """Anchors in pixels: `anchor_grid` if it is stored (YOLOv5 to v5.0; the decode uses it), else anchors times stride.

    Raises:
        CheckpointError: when they are not valid sizes.
    """
    kept = head.tensors.get("anchors")
    if kept is not None and not _is_anchor_shape(kept.shape):
        raise CheckpointError(
            f'"{head.path}.anchors" has shape {kept.shape}, expected (levels, anchors, 2) with at most {_MAX_LEVELS} '
            f"levels of {_MAX_ANCHORS} anchors."
        )
    grid_units = head.array("anchors")
    stored = head.tensors.get("anchor_grid")
    if stored is not None and stored.numel == grid_units.size:
        pixels = head.array("anchor_grid").reshape(grid_units.shape)
    else:
        stride = numbers(head.attribute("stride"))
        if len(stride) != len(grid_units):
            raise CheckpointError(
                f'"{head.path}" has {len(stride)} strides for {len(grid_units)} levels of anchors, expected as many.'
            )
        pixels = grid_units * np.array(stride, np.float32)[:, None, None]
    if grid_units.size == 0 or not ((pixels > 0) & (pixels < _MAX_ANCHOR_PX)).all():
        raise CheckpointError(
            f'"{head.path}" has anchors that are not valid sizes in pixels; the checkpoint is damaged.'
        )
    return Anchors(tuple(tuple((float(w), float(h)) for w, h in level) for level in pixels))


def _is_anchor_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] <= _MAX_LEVELS and shape[1] <= _MAX_ANCHORS and shape[2] == 2


def class_count(head: Module) -> int:
    """Number of classes of a detection head.

    Raises:
        CheckpointError: when the head does not give a number.
    """
    classes = head.attribute("nc")
    if type(classes) is not int or not 1 <= classes <= _MAX_CLASSES:
        raise CheckpointError(f'"{head.path}" has {shown(classes)} classes, expected a positive number.')
    return classes


def landmark_count(checkpoint: Checkpoint) -> int:
    """Landmarks per object: the channels of YOLOv5's head in addition to box, objectness and classes, in pairs."""
    head = head_of(checkpoint)
    if head is None or head.class_name != "Detect" or "anchors" not in head.tensors or "m" not in head.children:
        return 0
    shape, classes = head.tensors["anchors"].shape, head.attribute("nc")
    conv = next(iter(head.child("m").children.values()), None)
    weight = conv.tensors.get("weight") if conv is not None else None
    if weight is None or len(shape) != 3 or not shape[1] or type(classes) is not int:
        return 0
    fields, rest = divmod(int(weight.shape[0]), int(shape[1]))
    beyond = fields - 5 - classes
    return 0 if rest or beyond not in range(4, 400, 2) else beyond // 2


def classifier_classes(head: Module) -> int:
    """Number of classes of a classifier: the rows of its linear layer.

    Raises:
        CheckpointError: when it has none.
    """
    weight = head.child("linear").tensors.get("weight")
    if weight is None or len(weight.shape) != 2:
        raise CheckpointError(f'"{head.path}.linear" has no matrix of weights; the checkpoint is damaged.')
    return int(weight.shape[0])


def mask_count(head: Module) -> int:
    """Mask coefficients per object.

    Raises:
        CheckpointError: when the head does not give a number.
    """
    masks = head.attribute("nm")
    if type(masks) is not int or not 1 <= masks <= _MAX_MASKS:
        raise CheckpointError(f'"{head.path}" has {shown(masks)} mask coefficients, expected a positive number.')
    return masks


def class_names(checkpoint: Checkpoint, classes: int) -> tuple[str, ...]:
    """One name per class.

    Raises:
        CheckpointError: when there are more or fewer, or one is not text.
    """
    written = checkpoint.root.attribute("names")
    if not isinstance(written, (dict, list, tuple)):
        return tuple(f"class_{i}" for i in range(classes))
    names = ordered_names(written)
    if names is None:
        raise CheckpointError(
            f"The checkpoint's class names are {shown(written)}, expected a name for each of the {classes} classes.",
            "Train or save it again with names 0, 1, 2, ...",
        )
    if len(names) != classes:
        raise CheckpointError(
            f"The checkpoint has {len(names)} class names but its head predicts {classes} classes.",
            "Its names and weights do not belong together; train or save it again.",
        )
    if sum(map(len, names)) > _MAX_NAMES:
        raise CheckpointError(f"The checkpoint's class names have more than {_MAX_NAMES:,} characters.")
    for name in names:
        if not is_class_name(name):
            raise CheckpointError(f"The checkpoint has the class name {shown(name)}, which is not text.")
    return names


def training_facts(checkpoint: Checkpoint, image_size: int | None = None) -> TrainingFacts:
    """The facts of the training run and its weights.

    Args:
        checkpoint: the file.
        image_size: longer side of the training images in pixels, if the family knows it better than the trainer's
            arguments do.
    """
    return TrainingFacts(
        parameters=checkpoint.parameters,
        image_size=image_size or _image_size(checkpoint),
        weights=checkpoint.weights,
        stored_dtype=checkpoint.dtype,
        epoch=checkpoint.epoch,
        date=checkpoint.date,
    )


def _image_size(checkpoint: Checkpoint) -> int | None:
    arguments = checkpoint.train_arguments
    size = arguments.get("imgsz", arguments.get("img_size"))
    if isinstance(size, (list, tuple)) and size:
        size = size[0]
    return size if type(size) is int and 32 <= size <= 8192 else None


def yaml_name(value: object) -> str:
    """Name of the configuration that a model was built from, without its folder and `.yaml`; empty if it is unknown."""
    if not isinstance(value, str):
        return ""
    stem = re.split(r"[/\\]", value)[-1].removesuffix(".yaml")
    return stem if re.fullmatch(r"[\w.+-]{1,80}", stem) else ""


def onnx_metadata(info: ModelInfo) -> dict[str, str]:
    """Metadata of Ultralytics' exporters for an ONNX file of the model, with the same keys."""
    metadata = {
        "stride": str(max(info.strides, default=32)),
        "names": str(dict(enumerate(info.class_names))),
        "task": info.task,
    }
    if info.keypoints is not None:
        metadata["kpt_shape"] = str([info.keypoints.count, 3 if info.keypoints.scored else 2])
    return metadata
