"""YOLOv9 and GELAN of WongKinYiu's own code, trained or converted: of several heads, the one that inference reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    class_count,
    class_names,
    head_of,
    layers_of,
    mask_count,
    onnx_metadata,
    strides_of,
    training_facts,
    yaml_name,
)
from rkdeploy.host.families.checkpoint_kinds import input_channels
from rkdeploy.host.families.model_info import ModelInfo

if TYPE_CHECKING:
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.stem_form import StemForm

NAME = "yolov9"


@dataclass(frozen=True, slots=True)
class _Lead:
    """The parts of a head that inference reads, by the names of their sub-modules.

    Attributes:
        boxes, scores, dfl: of the last of its heads; those before it are auxiliary.
        heads: how many there are, each with layers of its own.
        masks: mask coefficients; empty for a detector.
        proto: prototypes.
        proto_layers: layers behind those of the levels that prototypes are computed from, the last one for the lead
            head; 0 where they are computed from its finest level.
    """

    boxes: str
    scores: str
    dfl: str
    heads: int = 1
    masks: str = ""
    proto: str = ""
    proto_layers: int = 0


_ONE, _TWO, _THREE = _Lead("cv2", "cv3", "dfl"), _Lead("cv4", "cv5", "dfl2", 2), _Lead("cv6", "cv7", "dfl3", 3)
_HEADS = {
    "Detect": _ONE,
    "DDetect": _ONE,
    "DualDetect": _TWO,
    "DualDDetect": _TWO,
    "TripleDetect": _THREE,
    "TripleDDetect": _THREE,
    "Segment": replace(_ONE, masks="cv4", proto="proto"),
    "DSegment": replace(_ONE, masks="cv4", proto="proto", proto_layers=1),
    "DualDSegment": replace(_TWO, masks="cv7", proto="proto2", proto_layers=2),
}
"""The parts by class.

Source: models/yolo.py for the third of three and for masks, detect_dual.py and val_triple.py for the others.
"""


def recognize(checkpoint: Checkpoint) -> bool:
    """True for a head of its own, or one that Ultralytics names alike and does not define."""
    head = head_of(checkpoint)
    if head is None or head.class_name not in _HEADS or head.module_name.startswith("ultralytics."):
        return False
    return "cv3" in head.children and "anchors" not in head.tensors


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = layers_of(checkpoint)
    head = layers[-1]
    lead = _HEADS[head.class_name]
    name = yaml_name(checkpoint.root.attribute("yaml_file"))
    return ModelInfo(
        family=NAME,
        generation=f"{name}, {head.class_name} head" if name else f"{head.class_name} head",
        task="segment" if lead.masks else "detect",
        class_names=class_names(checkpoint, class_count(head)),
        strides=strides_of(checkpoint, head, len(head.child(lead.boxes).children)),
        anchors=None,
        anchor_comparison=None,
        activation=tuple(name for name, _ in activations(checkpoint.root.walk()).most_common()),
        blocks=tuple(Counter(m.class_name for m in layers).most_common()),
        training=training_facts(checkpoint),
        masks=mask_count(head) if lead.masks else 0,
    )


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with the decode of its lead head: `images` (1, 3, height, width) RGB 0..1 to `output0`.

    `output0` is (1, 4 + nc + masks, rows); segmentation adds the prototypes as `output1`.  Layers and sub-modules that
    only an auxiliary head needs are left out.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.layer_list import blamed, emit_image, emit_layers, finish, needed_layers
    from rkdeploy.host.export.point_branches import PointBranches, point_levels
    from rkdeploy.host.export.point_heads import point_decode
    from rkdeploy.host.export.prototypes import PROTO_BLOCKS, with_prototypes
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
    from rkdeploy.host.export.yolov9_blocks import YOLOV9_BLOCKS

    layers = layers_of(checkpoint)
    head = layers[-1]
    lead = _HEADS[head.class_name]
    read = _places(layers, lead, len(info.strides))
    builder = GraphBuilder()
    emission = Emission(builder, YOLOV5_BLOCKS | CSP_BLOCKS | PROTO_BLOCKS | YOLOV9_BLOCKS, stem)
    image = emit_image(builder, input_channels(checkpoint), height, width)
    features = emit_layers(emission, layers, image, read)
    with blamed(f'Head "{head.path}"'):
        extra = head.child(lead.masks) if lead.masks else None
        branches = PointBranches(
            head.child(lead.boxes), head.child(lead.scores), extra, distribution=head.children.get(lead.dfl)
        )
        parts = point_levels(emission, head, branches, info.strides, features[: len(info.strides)])
        output, found = point_decode(builder, head.path, parts, masks=info.masks)
        outputs = {"output0": output}
        if lead.proto:
            outputs["output1"], found = with_prototypes(
                emission, head.child(lead.proto), features[-1 if lead.proto_layers else 0], found, height
            )
    used = [layers[index] for index in sorted(needed_layers(layers, read))]
    unused = head.children.keys() - {lead.boxes, lead.scores, lead.masks, lead.proto}
    return finish(
        builder, used, outputs, found, InputSpec("images", height, width), onnx_metadata(info), sorted(unused)
    )


def _places(layers: Sequence[Module], lead: _Lead, levels: int) -> tuple[int, ...]:
    """Places of the lead head's layers among those that the module reads: one per level, then the prototypes'.

    Raises:
        CheckpointError: when it reads another number of layers.
    """
    from rkdeploy.host.export.layer_list import layer_sources

    head = layers[-1]
    count, expected = len(layer_sources(head, len(layers) - 1)), lead.heads * levels + lead.proto_layers
    if count != expected:
        raise CheckpointError(f'"{head.path}" ({head.class_name}) reads {count} layers, expected {expected}.')
    first = (lead.heads - 1) * levels
    return (*range(first, first + levels), *((count - 1,) if lead.proto_layers else ()))
