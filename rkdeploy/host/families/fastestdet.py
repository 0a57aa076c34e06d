"""FastestDet of dog-qiuqiu.  Recognized, described, exported.

Its `.pth` are state dicts known by their keys; they say everything but names and size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.contract.spec import Anchors, InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.checkpoint.typed_modules import weight_shape
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "fastestdet"
_KEYS: Final = frozenset({"backbone", "SPP", "detect_head"})
_BRANCHES: Final = ("obj_layers", "reg_layers", "cls_layers")
_STRIDE, _BOX = 16, 4
_USUAL_HW: Final = (352, 352)
_MAX_CLASSES = 1000


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of this network."""
    root = weights_of(checkpoint)
    if not checkpoint.is_state_dict or not root.children.keys() >= _KEYS:
        return False
    return root.child("detect_head").children.keys() >= set(_BRANCHES)


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when the weights are not those of this architecture.
    """
    head = weights_of(checkpoint).child("detect_head")
    last = [head.child(name).child("conv5x5").child("3") for name in _BRANCHES]
    objectness, boxes, classes = (weight_shape(conv)[0] for conv in last)
    if (objectness, boxes) != (1, _BOX) or not 1 <= classes <= _MAX_CLASSES:
        raise CheckpointError(
            f"The last convolutions have {objectness}, {boxes} and {classes} channels, expected 1 of objectness, 4 of "
            f"the box and at most {_MAX_CLASSES} of classes."
        )
    return ModelInfo(
        family=NAME,
        generation="FastestDet",
        task="detect",
        class_names=tuple(f"class_{number}" for number in range(classes)),
        strides=(_STRIDE,),
        anchors=None,
        anchor_comparison=None,
        activation=("ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        has_class_names=False,
        usual_hw=_USUAL_HW,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one
) -> Exported:
    """The network with its decode: `images` (1, 3, height, width), BGR from 0 to 1, to `output0`.

    Its columns, (1, rows, 5 + nc), are x, y, w, h in input pixels, objectness^0.6 and shares of the classes^0.4.

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.heads import AnchorLayout, anchor_decode
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.shuffle_network import ShuffleNetwork
    from rkdeploy.host.graph.head_kinds import FASTEST_FORMULA

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        single = ShuffleNetwork(builder, root).single_map(builder.input("images", (1, 3, height, width)))
    anchors = Anchors((((float(width), float(height)),),))
    layout = AnchorLayout(anchors, (_STRIDE,), len(info.class_names), formula=FASTEST_FORMULA)
    rows, head = anchor_decode(builder, "head", [single], layout)
    image = InputSpec("images", height, width, color="bgr", fit="stretch")
    return finish(builder, [root], {layout.output: rows}, head, image, onnx_metadata(info))
