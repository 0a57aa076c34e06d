"""RetinaFace: biubug6's Pytorch_Retinaface and Face-Detector-1MB-with-landmark.  Recognized, described, exported.

Their `.pth` are state dicts.  The keys say which of four networks it is; the two whose backbone is a small MobileNet
differ in anchors and activations only, which the statistics of the weights tell apart (`leaky_evidence`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.anchor_defaults import compare_anchors
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.leaky_evidence import likeliest_slope
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "retinaface"
MEAN: Final = (104.0, 117.0, 123.0)
_LEAKY: Final = 0.1
_FIVE_POINTS: Final = KeypointLayout(5, scored=False, gain=0.1, offset=0.5, by_anchor=True)
_PYRAMID: Final = frozenset({"body", "fpn", "ssh1", "ssh2", "ssh3", "ClassHead", "BboxHead", "LandmarkHead"})
_CHAIN: Final = frozenset({"conv1", "conv8", "conv13", "conv14", "loc", "conf", "landm"})
_SIDES: Final = {
    "wide": ((16.0, 32.0), (64.0, 128.0), (256.0, 512.0)),
    "narrow": ((10.0, 20.0), (32.0, 64.0), (128.0, 256.0)),
    "four": ((10.0, 16.0, 24.0), (32.0, 48.0), (64.0, 96.0), (128.0, 192.0, 256.0)),
}
"""Sides of the square anchors of each level in pixels: data/config.py of both packages."""


@dataclass(frozen=True, slots=True)
class _RetinaFaceForm:
    """One of the networks.

    Attributes:
        says: what it is.
        sides: key of `_SIDES`.
        slope: of its activations below zero.
    """

    says: str
    sides: str
    slope: float


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of these networks."""
    keys = weights_of(checkpoint).children.keys()
    return checkpoint.is_state_dict and (keys >= _PYRAMID or keys >= _CHAIN)


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of one of these architectures.
    """
    form = _form(weights_of(checkpoint))
    sides = _SIDES[form.sides]
    anchors = Anchors(tuple(tuple((side, side) for side in level) for level in sides))
    return ModelInfo(
        family=NAME,
        generation=form.says,
        task="pose",
        class_names=("face",),
        strides=tuple(8 << level for level in range(len(sides))),
        anchors=anchors,
        anchor_comparison=compare_anchors(anchors, NAME),
        activation=("LeakyReLU" if form.slope else "ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        keypoints=_FIVE_POINTS,
        usual_size=640,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width), BGR less the mean, to `output0` (1, rows, 15).

    Columns are x1, y1, x2, y2 in input pixels, the score, and x and y of the five landmarks in input pixels.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.face_networks import FaceNetwork
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.prior_heads import OUTPUT, prior_decode

    root = weights_of(checkpoint)
    slope = _LEAKY if info.activation == ("LeakyReLU",) else 0.0
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        network = FaceNetwork(builder, root, slope)
        levels = network.levels(builder.input("images", (1, 3, height, width)))
    assert info.anchors is not None
    rows, head = prior_decode(builder, "head", levels, info.anchors, _FIVE_POINTS)
    image = InputSpec("images", height, width, color="bgr", mean=MEAN, std=(1.0, 1.0, 1.0))
    return finish(builder, [root], {OUTPUT: rows}, head, image, onnx_metadata(info))


def _form(root: Module) -> _RetinaFaceForm:
    """The form of the network.

    Raises:
        CheckpointError: when it is none of them.
    """
    if "body" not in root.children:
        light = "RFB" if "branch0" in root.child("conv8").children else "slim"
        return _RetinaFaceForm(f"Face-Detector-1MB, {light}", "four", 0.0)
    body = root.child("body")
    if "layer4" in body.children:
        return _RetinaFaceForm("Pytorch_Retinaface, ResNet-50", "wide", 0.0)
    if not {"stage1", "stage2", "stage3"} <= body.children.keys():
        raise CheckpointError(f'"{body.path}" has the parts {", ".join(body.children)}, expected stage1 to stage3.')
    first = body.child("stage1")
    width = weight_shape(first.child("0").child("0"))[0] / 32
    slope = likeliest_slope(first.child("0"), first.child("1"), MEAN, (0.0, _LEAKY))
    package, sides = ("Pytorch_Retinaface", "wide") if slope else ("Face-Detector-1MB", "narrow")
    return _RetinaFaceForm(f"{package}, MobileNet {width:g}", sides, slope)
