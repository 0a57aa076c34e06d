"""torchvision's SSDLite320 on MobileNetV3-Large, a state dict known by its keys.  Recognized, described, exported."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Final

from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "torchvision-ssd"
_LEVELS: Final = 6
_SCALES: Final = (0.2, 0.95)
"""Of the first and the last level's anchors, as shares of the image: `ssdlite320_mobilenet_v3_large`."""
_RATIOS: Final = (2.0, 3.0)
_PER_CELL: Final = 2 + 2 * len(_RATIOS)
_USUAL_SIZE: Final = 320
_MAX_CLASSES = 1000
_GRAY = (127.5, 127.5, 127.5)


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of this network."""
    root = weights_of(checkpoint)
    if not checkpoint.is_state_dict or not {"backbone", "head"} <= root.children.keys():
        return False
    backbone, head = root.child("backbone").children, root.child("head").children
    if not {"features", "extra"} <= backbone.keys() or not {"classification_head", "regression_head"} <= head.keys():
        return False
    lists = [head[name].children.get("module_list") for name in ("classification_head", "regression_head")]
    is_wide = all(part is not None and len(part.children) == _LEVELS for part in lists)
    return is_wide and set(backbone["features"].children) == {"0", "1"}


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of this architecture.
    """
    root = weights_of(checkpoint)
    classes = _class_count(root.child("head"))
    return ModelInfo(
        family=NAME,
        generation="SSDLite, MobileNetV3-Large",
        task="detect",
        class_names=tuple(f"class_{number}" for number in range(classes)),
        strides=tuple(16 << number for number in range(_LEVELS)),
        anchors=_anchors(_USUAL_SIZE, _USUAL_SIZE),
        anchor_comparison=None,
        activation=("Hardswish", "ReLU6", "ReLU"),
        blocks=(),
        training=training_facts(checkpoint),
        has_class_names=False,
        usual_hw=(_USUAL_SIZE, _USUAL_SIZE),
        partial_cells=True,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width), RGB, (pixel - 127.5) / 127.5, to `output0`.

    Its columns, (1, rows, 4 + nc), are x1, y1, x2, y2 in input pixels, not clipped, and the scores without the
    background's.  Cells divide the input evenly: `DefaultBoxGenerator` in models/detection/anchor_utils.py.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.prior_heads import OUTPUT, prior_decode
    from rkdeploy.host.export.ssdlite_network import ssdlite_levels

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        levels = ssdlite_levels(builder, root, builder.input("images", (1, 3, height, width)))
    steps = tuple((width / level.boxes.shape[3], height / level.boxes.shape[2]) for level in levels)
    anchors = _anchors(height, width)
    rows, head = prior_decode(builder, "head", levels, anchors, None, len(info.class_names), steps)
    image = InputSpec("images", height, width, mean=_GRAY, std=_GRAY, fit="stretch", antialias=False)
    return finish(builder, [root], {OUTPUT: rows}, head, image, onnx_metadata(info))


def _anchors(height: int, width: int) -> Anchors:
    """Anchors of each level in pixels, not larger than the input."""
    first, last = _SCALES
    scales = [first + (last - first) * number / (_LEVELS - 1) for number in range(_LEVELS)] + [1.0]
    levels = []
    for scale, following in pairwise(scales):
        middle = sqrt(scale * following)
        shares = [(scale, scale), (middle, middle)]
        for ratio in _RATIOS:
            long, short = scale * sqrt(ratio), scale / sqrt(ratio)
            shares += [(long, short), (short, long)]
        levels.append(tuple((min(w, 1.0) * width, min(h, 1.0) * height) for w, h in shares))
    return Anchors(tuple(levels))


def _class_count(head: Module) -> int:
    """Classes without the background.

    Raises:
        CheckpointError: when the last convolution of the scores does not say it.
    """
    conv = head.child("classification_head").child("module_list").child("0").child("1")
    count, rest = divmod(weight_shape(conv)[0], _PER_CELL)
    if rest or not 2 <= count <= 1 + _MAX_CLASSES:
        raise CheckpointError(
            f'"{conv.path}" has {weight_shape(conv)[0]} channels, expected {_PER_CELL} anchors of 2 or more.'
        )
    return count - 1
