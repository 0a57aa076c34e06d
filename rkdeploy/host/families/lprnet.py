"""LPRNet: sirius-ai's LPRNet_Pytorch.  Recognized, described, exported.

Its `.pth` is a state dict.  Its dictionary is known by the number of scores; another one is given by the user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.contract.spec import InputSpec
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.characters import LPRNET, text_formula
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "lprnet"
MEAN: Final = 127.5
STD: Final = 128.0
_HW: Final = (24, 94)


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of this network."""
    root = weights_of(checkpoint)
    backbone = root.children.get("backbone")
    return (
        checkpoint.is_state_dict
        and backbone is not None
        and set(root.children) == {"backbone", "container"}
        and {"0", "1", "4", "8", "11", "16", "20", "21"} <= backbone.children.keys()
        and "block" in backbone.children["4"].children
    )


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model."""
    return ModelInfo(
        family=NAME,
        generation="LPRNet_Pytorch",
        task="text",
        class_names=("text",),
        strides=(1,),
        anchors=None,
        anchor_comparison=None,
        activation=("ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        image_hw=_HW,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 3x3 one of stride 1
) -> Exported:
    """The network: `images` (1, 3, height, width), BGR, (pixel - 127.5) / 128, to `output0` (1, K, T).

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.text_heads import text_head
    from rkdeploy.host.export.text_networks import LprNetwork

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        scores = LprNetwork(builder, root).scores(builder.input("images", (1, 3, height, width)))
    outputs, head = text_head(builder, scores, text_formula(LPRNET, scores.channels, "last"), height)
    image = InputSpec(
        "images", height, width, color="bgr", mean=(MEAN,) * 3, std=(STD,) * 3, fit="stretch", antialias=False
    )
    return finish(builder, [root], outputs, head, image, onnx_metadata(info))
