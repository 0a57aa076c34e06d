"""Yolo-FastestV2 of dog-qiuqiu.  Recognized, described, exported.

Its `.pth` are state dicts known by their keys.  They hold no anchors: the repository's for COCO are taken, unless the
user gives others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolo-fastestv2"
COCO_ANCHORS: Final = (
    ((12.64, 19.39), (37.88, 51.48), (55.71, 138.31)),
    ((126.91, 78.23), (131.57, 214.55), (279.92, 258.87)),
)
"""`anchors` in data/coco.data, in pixels of 352x352, by level."""
_KEYS: Final = frozenset({"backbone", "fpn", "output_reg_layers", "output_obj_layers", "output_cls_layers"})
_ANCHORS, _BOX = 3, 4
_USUAL_HW: Final = (352, 352)
_MAX_CLASSES = 1000
_ASSUMED = (
    "The weights do not say their anchors; the repository's for COCO are assumed. If it was trained with others "
    "(anchors in its .data file), give them with --anchors."
)


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of this network, with three anchors."""
    root = weights_of(checkpoint)
    if not checkpoint.is_state_dict or not root.children.keys() >= _KEYS:
        return False
    return "conv1x1_2" in root.child("fpn").children and "first_conv" in root.child("backbone").children


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of this architecture.
    """
    root = weights_of(checkpoint)
    boxes, objectness, classes = (
        weight_shape(root.child(f"output_{name}_layers"))[0] for name in ("reg", "obj", "cls")
    )
    if (boxes, objectness) != (_BOX * _ANCHORS, _ANCHORS) or not 1 <= classes <= _MAX_CLASSES:
        raise CheckpointError(
            f"The last convolutions have {boxes}, {objectness} and {classes} channels, expected 12 of boxes, 3 of "
            f"objectness and at most {_MAX_CLASSES} of classes."
        )
    return ModelInfo(
        family=NAME,
        generation="Yolo-FastestV2",
        task="detect",
        class_names=tuple(f"class_{number}" for number in range(classes)),
        strides=(16, 32),
        anchors=Anchors(COCO_ANCHORS),
        anchor_comparison=None,
        activation=("ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        has_class_names=False,
        usual_hw=_USUAL_HW,
        assumed_anchors=True,
        notes=(_ASSUMED,),
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width), BGR from 0 to 1, to `output0`.

    Its columns, (1, rows, 5 + nc), are x, y, w, h in input pixels, objectness and shares of the classes.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.heads import AnchorLayout, anchor_decode
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.shuffle_network import STRIDES, ShuffleNetwork

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        maps = ShuffleNetwork(builder, root).maps(builder.input("images", (1, 3, height, width)))
    assert info.anchors is not None
    layout = AnchorLayout(info.anchors, STRIDES, len(info.class_names), formula=AnchorFormula(classes="softmax"))
    rows, head = anchor_decode(builder, "head", maps, layout)
    image = InputSpec("images", height, width, color="bgr", fit="stretch")
    return finish(builder, [root], {layout.output: rows}, head, image, onnx_metadata(info))
