"""Plate text, perhaps with the plate's color: we0091234's crnn_plate_recognition.  Recognized, described, exported.

Its `.pth` has a state dict and the widths of its layers, which the weights show too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.contract.spec import InputSpec
from rkdeploy.host.checkpoint import Checkpoint
from rkdeploy.host.families.characters import PLATE_COLORS, PLATES, text_formula
from rkdeploy.host.families.checkpoint_facts import onnx_metadata, training_facts, weights_of
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "plate-crnn"
MEAN: Final = 0.588 * 255
STD: Final = 0.193 * 255
_HW: Final = (48, 168)


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the keys of this network."""
    root = weights_of(checkpoint)
    return (
        checkpoint.is_state_dict
        and {"feature", "newCnn"} <= root.children.keys()
        and {"0", "1"} <= root.children["feature"].children.keys()
    )


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model."""
    colored = weights_of(checkpoint).children.get("color_classifier")
    colors = len(colored.array("weight")) if colored is not None else 0
    known = colors == len(PLATE_COLORS)
    names = PLATE_COLORS if known else tuple(f"color_{number}" for number in range(colors))
    return ModelInfo(
        family=NAME,
        generation="crnn_plate_recognition, text and color" if colors else "crnn_plate_recognition",
        task="text",
        class_names=names or ("text",),
        strides=(1,),
        anchors=None,
        anchor_comparison=None,
        activation=("ReLU",),
        blocks=(),
        training=training_facts(checkpoint),
        has_class_names=known or not colors,
        image_hw=_HW,
    )


def export(
    checkpoint: Checkpoint,
    info: ModelInfo,
    height: int,
    width: int,
    stem: StemForm = "trained",  # noqa: ARG001 - a 5x5 one of stride 1
) -> Exported:
    """The network: `images` (1, 3, height, width), BGR, to `output0` (1, K, T), and the color's `output1` (1, n).

    Raises:
        CheckpointError, GraphError: when the weights do not fit together, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.layer_list import blamed, finish
    from rkdeploy.host.export.text_heads import text_head
    from rkdeploy.host.export.text_networks import PlateNetwork

    root = weights_of(checkpoint)
    builder = GraphBuilder()
    with blamed(f'The network "{checkpoint.path.name}"'):
        scores, color = PlateNetwork(builder, root).scores(builder.input("images", (1, 3, height, width)))
    outputs, head = text_head(builder, scores, text_formula(PLATES, scores.channels, "first"), height, color)
    image = InputSpec(
        "images", height, width, color="bgr", mean=(MEAN,) * 3, std=(STD,) * 3, fit="stretch", antialias=False
    )
    return finish(builder, [root], outputs, head, image, onnx_metadata(info))
