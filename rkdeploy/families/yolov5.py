"""YOLOv5, v3.0 to v7.0: how to recognise it, what its checkpoint says, and its graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.checkpoint import Checkpoint, Module
from rkdeploy.checkpoint.tensor import LazyTensor
from rkdeploy.errors import CheckpointError, shown
from rkdeploy.families.model_info import ACTIVATION_CLASSES, AnchorComparison, ModelInfo
from rkdeploy.spec import Anchors

if TYPE_CHECKING:
    import onnx

    from rkdeploy.export.blocks import StemForm

NAME = "yolov5"

# models/yolov5*.yaml and models/hub/yolov5*6.yaml (pixels of the network input).
COCO_ANCHORS = {
    3: (
        ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
        ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
        ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    ),
    4: (
        ((19.0, 27.0), (44.0, 40.0), (38.0, 94.0)),
        ((96.0, 68.0), (86.0, 152.0), (180.0, 137.0)),
        ((140.0, 301.0), (303.0, 264.0), (238.0, 542.0)),
        ((436.0, 615.0), (739.0, 380.0), (925.0, 792.0)),
    ),
}

_MAX_ANCHOR_PX = 1e5
_MAX_STRIDE = 1024
_MAX_LEVELS = 16
_MAX_CLASS_NAME = 1000


def recognise(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is a YOLOv5 detection model: a layer list that ends in an anchor-based `Detect`."""
    head = next(reversed(list(_layers(checkpoint))), None)
    return head is not None and head.class_name == "Detect" and "anchors" in head.tensors and "m" in head.children


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = tuple(_layers(checkpoint))
    head = layers[-1]
    anchors = _anchors(head)
    names = _class_names(checkpoint, head)
    blocks = Counter(m.class_name for m in layers)
    active = Counter(m.class_name for m in checkpoint.root.walk() if m.class_name in ACTIVATION_CLASSES)
    del active["Identity"]
    return ModelInfo(
        family=NAME,
        generation=_generation(checkpoint, blocks, active),
        task="detect",
        class_names=names,
        strides=_strides(checkpoint, head),
        anchors=anchors,
        anchor_comparison=compare_anchors(anchors),
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(blocks.most_common()),
        parameters=checkpoint.parameters,
        image_size=_image_size(checkpoint),
        weights=checkpoint.weights,
        stored_dtype=checkpoint.dtype,
        epoch=checkpoint.epoch,
        date=checkpoint.date,
    )


def export(
    checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, batch: int = 1, stem: StemForm = "trained"
) -> onnx.ModelProto:
    """The network with its decode: `images` (batch, 3, height, width) RGB 0..1 to `output0` (batch, rows, 5 + nc).

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Here and not above: reading what a checkpoint says needs no onnx.
    from rkdeploy.export.blocks import Emission
    from rkdeploy.export.builder import GraphBuilder
    from rkdeploy.export.heads import anchor_detect
    from rkdeploy.export.network import emit_layers, require_nothing_left

    assert info.anchors is not None
    layers = tuple(_layers(checkpoint))
    builder = GraphBuilder()
    image = builder.input("images", (batch, 3, height, width))
    features = emit_layers(Emission(builder, stem), layers, image)
    output = anchor_detect(builder, layers[-1], features, info.anchors, info.strides, len(info.class_names))
    require_nothing_left(layers)
    metadata = {
        "stride": str(max(info.strides)),
        "names": str(dict(enumerate(info.class_names))),
        "task": info.task,
    }
    return builder.finish({"output0": output}, metadata)


def compare_anchors(anchors: Anchors) -> AnchorComparison:
    """Set the anchors beside COCO's defaults for the same number of levels."""
    defaults = COCO_ANCHORS.get(len(anchors.levels_px))
    if defaults is None or any(len(a) != len(b) for a, b in zip(anchors.levels_px, defaults, strict=True)):
        return AnchorComparison(are_defaults=False, largest_ratio=None)
    own, published = np.array(anchors.levels_px), np.array(defaults)
    ratio = own / published
    return AnchorComparison(
        are_defaults=bool(np.abs(own - published).max() < 0.05),
        largest_ratio=float(np.maximum(ratio, 1 / ratio).max()),
    )


def _layers(checkpoint: Checkpoint) -> Iterator[Module]:
    model = checkpoint.root.children.get("model")
    if model is not None and model.class_name == "Sequential":
        yield from model.children.values()


def _anchors(head: Module) -> Anchors:
    """Anchors in pixels: what decodes is `anchor_grid` where it is stored (to v5.0), else anchors times stride."""
    grid_units = head.array("anchors")
    if grid_units.ndim != 3 or grid_units.shape[2] != 2:
        raise CheckpointError(f'"{head.path}.anchors" has shape {grid_units.shape}, expected (levels, anchors, 2).')
    stored = head.tensors.get("anchor_grid")
    if stored is not None and stored.numel == grid_units.size:
        pixels = head.array("anchor_grid").reshape(grid_units.shape)
    else:
        stride = _numbers(head.attribute("stride"))
        if len(stride) != len(grid_units):
            raise CheckpointError(
                f'"{head.path}" has {len(stride)} strides for {len(grid_units)} levels of anchors, expected as many.'
            )
        pixels = grid_units * np.array(stride, np.float32)[:, None, None]
    if grid_units.size == 0 or not ((pixels > 0) & (pixels < _MAX_ANCHOR_PX)).all():
        raise CheckpointError(f'"{head.path}" has anchors that are no sizes in pixels; the checkpoint is damaged.')
    return Anchors(tuple(tuple((float(w), float(h)) for w, h in level) for level in pixels))


def _strides(checkpoint: Checkpoint, head: Module) -> tuple[int, ...]:
    strides = _numbers(head.attribute("stride")) or _numbers(checkpoint.root.attribute("stride"))
    levels = head.array("anchors").shape[0]
    whole = tuple(round(s) if 1 <= s <= _MAX_STRIDE else 0 for s in strides)
    if len(whole) != levels or any(s < 1 or abs(s - v) > 1e-3 for s, v in zip(whole, strides, strict=True)):
        raise CheckpointError(f'"{head.path}" has strides {shown(strides)}, expected {levels} whole numbers of pixels.')
    return whole


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, LazyTensor) and value.numel <= _MAX_LEVELS:
        value = value.numpy().ravel().tolist()
    if isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in value):
        return tuple(float(v) for v in value)
    return ()


def _class_names(checkpoint: Checkpoint, head: Module) -> tuple[str, ...]:
    classes = head.attribute("nc")
    if type(classes) is not int or not 1 <= classes <= 100_000:
        raise CheckpointError(f'"{head.path}" has {shown(classes)} classes, expected a positive number.')
    names = checkpoint.root.attribute("names")
    if isinstance(names, dict):
        names = [names.get(i) for i in range(max(len(names), classes))]
    if not isinstance(names, (list, tuple)):
        return tuple(f"class_{i}" for i in range(classes))
    if len(names) != classes or not all(isinstance(n, str) for n in names):
        raise CheckpointError(
            f"The checkpoint has {len(names)} class names but its head predicts {classes} classes.",
            "Its names and weights do not belong together; train or save it again.",
        )
    for name in names:
        if len(name) > _MAX_CLASS_NAME or any("\ud800" <= c <= "\udfff" for c in name):  # half characters
            raise CheckpointError(f"The checkpoint has the class name {shown(name)}, which is no text.")
    return tuple(names)


def _image_size(checkpoint: Checkpoint) -> int | None:
    arguments = checkpoint.train_arguments
    size = arguments.get("imgsz", arguments.get("img_size"))
    if isinstance(size, (list, tuple)) and size:
        size = size[0]
    return size if type(size) is int and 32 <= size <= 8192 else None


def _generation(checkpoint: Checkpoint, blocks: Counter[str], active: Counter[str]) -> str:
    """The releases whose code writes such a model.  Blocks tell: a checkpoint does not store its release."""
    if "Focus" not in blocks and "SPPF" in blocks:
        return "v6.0 to v7.0 (6x6 stem, SPPF)"
    if "Focus" in blocks and "BottleneckCSP" in blocks:
        return "v3.x or older (Focus, BottleneckCSP)"
    if "Focus" in blocks and active.get("Hardswish"):
        return "v3.x (Focus, Hardswish)"
    if "Focus" in blocks:
        return "v4.0 to v5.0 (Focus, C3)"
    return f"v2.0 to v7.0, own architecture ({checkpoint.root.class_name})"
