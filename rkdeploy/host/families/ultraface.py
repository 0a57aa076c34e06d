"""UltraFace: Linzaer's Ultra-Light-Fast-Generic-Face-Detector-1MB.  Recognized, described, exported.

Its `.pth` are state dicts: the keys say whether it is the slim network or the one with an RFB block, and the channels
of its heads how many classes it has.
"""

from __future__ import annotations

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

NAME = "ultraface"
_KEYS: Final = frozenset({"base_net", "extras", "classification_headers", "regression_headers"})
_LAYERS, _LEVELS = 13, 4
_SIDES: Final = ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0))
"""Sides of the square anchors of each level in pixels: `min_boxes` in vision/ssd/config/fd_config.py."""
_USUAL_HW: Final = (240, 320)
_MAX_CLASSES = 1000


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of these networks; pytorch-ssd's MobileNets have the same ones at the top only."""
    root = weights_of(checkpoint)
    if not checkpoint.is_state_dict or not root.children.keys() >= _KEYS:
        return False
    counts = [len(root.child(name).children) for name in ("base_net", "regression_headers", "extras")]
    return counts == [_LAYERS, _LEVELS, 1]


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of one of these architectures.
    """
    root = weights_of(checkpoint)
    classes = _class_count(root)
    light = "RFB" if any("branch0" in layer.children for layer in root.child("base_net").children.values()) else "slim"
    return ModelInfo(
        family=NAME,
        generation=f"Ultra-Light-Fast-Generic-Face-Detector-1MB, {light}",
        task="detect",
        class_names=("face",) if classes == 1 else tuple(f"class_{number}" for number in range(classes)),
        strides=(8, 16, 32, 64),
        anchors=Anchors(tuple(tuple((side, side) for side in level) for level in _SIDES)),
        anchor_comparison=None,
        activation=("ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        has_class_names=classes == 1,
        usual_hw=_USUAL_HW,
        partial_cells=True,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width), RGB, (pixel - 127) / 128, to `output0`.

    Its columns, (1, rows, 4 + nc), are x1, y1, x2, y2 in input pixels and the scores.  Anchors are not larger than the
    input, and cells divide it evenly: `generate_priors` in vision/utils/box_utils.py.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.face_networks import FaceNetwork
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.prior_heads import OUTPUT, prior_decode

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        levels = FaceNetwork(builder, root, 0.0).levels(builder.input("images", (1, 3, height, width)))
    anchors = Anchors(tuple(tuple((min(s, width), min(s, height)) for s in level) for level in _SIDES))
    steps = tuple((width / level.boxes.shape[3], height / level.boxes.shape[2]) for level in levels)
    rows, head = prior_decode(builder, "head", levels, anchors, None, len(info.class_names), steps)
    image = InputSpec("images", height, width, mean=(127.0,) * 3, std=(128.0,) * 3, fit="stretch", antialias=False)
    return finish(builder, [root], {OUTPUT: rows}, head, image, onnx_metadata(info))


def _class_count(root: Module) -> int:
    """Classes without the background.

    Raises:
        CheckpointError: when the last convolution of the scores does not say it.
    """
    head = root.child("classification_headers").child(str(_LEVELS - 1))
    count, rest = divmod(weight_shape(head)[0], len(_SIDES[-1]))
    if rest or not 2 <= count <= 1 + _MAX_CLASSES:
        raise CheckpointError(f'"{head.path}" has {weight_shape(head)[0]} channels, expected 3 anchors of 2 or more.')
    return count - 1
