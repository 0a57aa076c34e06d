"""Models of the ultralytics package: YOLOv3u and v5u to YOLO26, in its tasks.  Recognized, described, exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import pi
from typing import TYPE_CHECKING

from rkdeploy.contract.class_names import BACKGROUND, is_background
from rkdeploy.contract.formulas import AngleFormula, ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import InputSpec, Task
from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.checkpoint_facts import (
    activations,
    class_count,
    class_names,
    classifier_classes,
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
from rkdeploy.host.families.vocabulary import OPEN_VOCABULARY, branches_of, unused_parts, vectors_of

if TYPE_CHECKING:
    from rkdeploy.host.export.builder import Value
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.exported import Exported
    from rkdeploy.host.export.point_branches import PointBranches
    from rkdeploy.host.export.stem_form import StemForm
    from rkdeploy.host.graph.head import Head

NAME = "ultralytics"

_TASKS: dict[str, Task] = {
    "Detect": "detect",
    "v10Detect": "detect",
    "Segment": "segment",
    "Segment26": "segment",
    "Pose": "pose",
    "Pose26": "pose",
    "OBB": "obb",
    "OBB26": "obb",
    "Classify": "classify",
    "SemanticSegment": "semantic",
    "Depth": "depth",
    "WorldDetect": "detect",
    "YOLOEDetect": "detect",
    "YOLOESegment": "segment",
    "YOLOESegment26": "segment",
}
_WHOLE_IMAGE = {"Classify": "linear", "SemanticSegment": "classifier", "Depth": "proj"}
"""A sub-module of each head without rows, which other packages' heads of these names lack."""
_ONE_TO_ONE = "one2one_"
_TRAINING_ONLY = {
    "Pose26": ("flow_model", "cv4_sigma", "one2one_cv4_sigma"),
    "Segment26": ("proto.semseg",),
    "SemanticSegment": ("aux_head",),
}
_MAX_KEYPOINTS = 1000


def recognize(checkpoint: Checkpoint) -> bool:
    """True for the package's models: a layer list that ends in one of its heads, which have no anchor sizes."""
    head = head_of(checkpoint)
    if head is None or head.class_name not in _TASKS:
        return False
    if head.class_name in _WHOLE_IMAGE:
        return head.module_name.startswith("ultralytics.") and _WHOLE_IMAGE[head.class_name] in head.children
    return "cv3" in head.children or f"{_ONE_TO_ONE}cv3" in head.children


def describe(checkpoint: Checkpoint) -> ModelInfo:
    """Read the facts of the model.

    Raises:
        CheckpointError: when they contradict each other, as names and channels do in a damaged file.
    """
    layers = layers_of(checkpoint)
    head = layers[-1]
    task = _TASKS[head.class_name]
    if head.class_name in OPEN_VOCABULARY:
        vectors_of(checkpoint, head, class_count(head))  # says what to do where there are none
    active = activations(checkpoint.root.walk())
    return ModelInfo(
        family=NAME,
        generation=generation_of(checkpoint, head),
        task=task,
        class_names=_class_names(checkpoint, head),
        strides=_strides(checkpoint, head),
        anchors=None,
        anchor_comparison=None,
        activation=tuple(name for name, _ in active.most_common()),
        blocks=tuple(Counter(m.class_name for m in layers).most_common()),
        training=training_facts(checkpoint),
        end_to_end=head.class_name not in _WHOLE_IMAGE and _end_to_end(head),
        dual_head={"cv2", f"{_ONE_TO_ONE}cv2"} <= head.children.keys(),
        masks=mask_count(head) if task == "segment" else 0,
        keypoints=_keypoints(head) if task == "pose" else None,
        angle=_angle(head) if task == "obb" else None,
        class_maps=(task,) if task == "semantic" else (),
    )


def _class_names(checkpoint: Checkpoint, head: Module) -> tuple[str, ...]:
    """The names of the classes.  A semantic model of one class has a background too; depth is not a class."""
    if head.class_name == "Depth":
        return ("depth",)
    names = class_names(checkpoint, classifier_classes(head) if head.class_name == "Classify" else class_count(head))
    return (BACKGROUND, *names) if head.class_name == "SemanticSegment" and len(names) == 1 else names


def _strides(checkpoint: Checkpoint, head: Module) -> tuple[int, ...]:
    """Input pixels per cell of each level; of maps those of the coarsest layer, which the input must divide by."""
    if head.class_name == "Classify":
        return ()
    return strides_of(checkpoint, head, 1 if head.class_name in _WHOLE_IMAGE else len(_branch(head, "cv2").children))


def export(checkpoint: Checkpoint, info: ModelInfo, height: int, width: int, stem: StemForm = "trained") -> Exported:
    """The network with its decode: `images` (1, 3, height, width) RGB 0..1 to `output0`.

    `output0` is (1, 4 + nc + extra, rows), as in the package's own export; for an end-to-end head the same
    before the top-k, with corners instead of center and size.  Segmentation adds the prototypes as `output1`; a
    classifier gives (1, nc) probabilities, a semantic model logits at an eighth of the input's size, a depth model
    meters at a quarter: the package enlarges both only when it exports.

    Raises:
        CheckpointError, GraphError: when a block is unknown, or a size does not fit.
    """
    # Imported here: reading a checkpoint's facts needs no onnx.
    from rkdeploy.host.export.attention_blocks import ATTENTION_BLOCKS
    from rkdeploy.host.export.builder import GraphBuilder
    from rkdeploy.host.export.classifier import classify
    from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
    from rkdeploy.host.export.emission import Emission
    from rkdeploy.host.export.layer_list import blamed, emit_image, emit_layers, finish
    from rkdeploy.host.export.layer_settings import require_setting
    from rkdeploy.host.export.point_branches import point_levels
    from rkdeploy.host.export.point_heads import point_decode
    from rkdeploy.host.export.prototypes import PROTO_BLOCKS, with_prototypes
    from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS

    layers = layers_of(checkpoint)
    head = layers[-1]
    builder = GraphBuilder()
    blocks = YOLOV5_BLOCKS | CSP_BLOCKS | ATTENTION_BLOCKS | PROTO_BLOCKS
    if head.class_name in OPEN_VOCABULARY:
        from rkdeploy.host.export.open_vocabulary import vocabulary_blocks

        blocks = {**blocks, **vocabulary_blocks(vectors_of(checkpoint, head, len(info.class_names)))}
    emission = Emission(builder, blocks, stem)
    features = emit_layers(emission, layers, emit_image(builder, input_channels(checkpoint), height, width))
    image = InputSpec("images", height, width)
    metadata = onnx_metadata(info)
    if info.task == "classify":
        with blamed(f'Head "{head.path}"'):
            output, found = classify(emission, head, features, height, "softmax")
        image = InputSpec("images", height, width, fit="center_crop")
        return finish(builder, layers, {"output0": output}, found, image, metadata)
    if info.task in ("semantic", "depth"):
        with blamed(f'Head "{head.path}"'):
            output, found = _map(emission, head, info, features, height)
        if info.task == "depth":
            image = InputSpec("images", height, width, fit="stretch", antialias=False)
        return finish(builder, layers, {"output0": output}, found, image, metadata, _unused(head, info))
    with blamed(f'Head "{head.path}"'):
        require_setting(head, "nl", len(features))
        output, found = point_decode(
            builder,
            head.path,
            point_levels(emission, head, _branches(head, info), info.strides, features),
            end_to_end=info.end_to_end,
            keypoints=info.keypoints,
            angle=info.angle,
            masks=info.masks,
        )
        outputs = {"output0": output}
        if info.masks:
            proto = head.child("proto")
            level = features if proto.class_name == "Proto26" else features[0]
            outputs["output1"], found = with_prototypes(emission, proto, level, found, height)
    return finish(builder, layers, outputs, found, image, metadata, _unused(head, info))


def _map(emission: Emission, head: Module, info: ModelInfo, features: list[Value], height: int) -> tuple[Value, Head]:
    """The map of a semantic or depth model, with its head."""
    from rkdeploy.host.export.map_heads import SEMANTIC, depth_map, semantic_map

    if info.task == "depth":
        return depth_map(emission, head, features, height)
    names = info.class_names
    return semantic_map(emission, head, features, ClassMapSpec(SEMANTIC, names, is_background(names[0])), height)


def _branches(head: Module, info: ModelInfo) -> PointBranches:
    """The branches of the head in use: one-to-one if it is end to end, else one-to-many."""
    from rkdeploy.host.export.point_branches import PointBranches

    if head.class_name in OPEN_VOCABULARY:
        dual = info.end_to_end and f"{_ONE_TO_ONE}cv2" in head.children
        return branches_of(head, _ONE_TO_ONE if dual else "")
    boxes, scores = (_branch(head, name, end_to_end=info.end_to_end) for name in ("cv2", "cv3"))
    extra = None if info.task == "detect" else _branch(head, "cv4", end_to_end=info.end_to_end)
    # YOLO26's pose head has a trunk, and the last convolution of a level outside of it.
    last = _branch(head, "cv4_kpts", end_to_end=info.end_to_end) if head.class_name == "Pose26" else None
    return PointBranches(boxes, scores, extra, last, head.children.get("dfl"))


def _branch(head: Module, name: str, *, end_to_end: bool | None = None) -> Module:
    """The convolutions of one kind, one per level, of the requested head, by default the one in use."""
    one_to_one = f"{_ONE_TO_ONE}{name}"
    wanted = _end_to_end(head) if end_to_end is None else end_to_end
    return head.child(one_to_one if wanted and one_to_one in head.children else name)


def _end_to_end(head: Module) -> bool:
    """True if inference takes the one-to-one head: it exists, and is not switched off."""
    if f"{_ONE_TO_ONE}cv2" not in head.children:
        return False
    if "cv2" not in head.children:
        return True
    return bool(head.attribute("_end2end", head.attribute("end2end", True)))


def _unused(head: Module, info: ModelInfo) -> tuple[str, ...]:
    """Unused parts: the half of a dual head that inference does not take, and modules for training only."""
    dual = [name for name in head.children if name.startswith(_ONE_TO_ONE)]
    other = [name.removeprefix(_ONE_TO_ONE) for name in dual] if info.end_to_end else dual
    more = unused_parts(head) if head.class_name in OPEN_VOCABULARY else _TRAINING_ONLY.get(head.class_name, ())
    return (*other, *more, "dfl")


def _keypoints(head: Module) -> KeypointLayout:
    shape = head.attribute("kpt_shape")
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) != 2
        or not all(type(n) is int for n in shape)
        or not 1 <= shape[0] <= _MAX_KEYPOINTS
        or shape[1] not in (2, 3)
    ):
        raise CheckpointError(f'"{head.path}" has the keypoint shape {shown(shape)}, expected [count, 2 or 3].')
    if head.class_name == "Pose26":
        return KeypointLayout(shape[0], shape[1] == 3, gain=1.0, offset=0.5)
    return KeypointLayout(shape[0], shape[1] == 3)


def _angle(head: Module) -> AngleFormula:
    if head.attribute("ne", 1) != 1:
        raise CheckpointError(f'"{head.path}" has {shown(head.attribute("ne"))} angles per box, expected one.')
    if head.class_name == "OBB26":
        return AngleFormula(sigmoid=False, gain=1.0, offset=0.0)
    return AngleFormula(sigmoid=True, gain=pi, offset=-0.25 * pi)


def generation_of(checkpoint: Checkpoint, head: Module) -> str:
    """The configuration that the model was built from, if its file says, else the kind of head."""
    config = checkpoint.root.attribute("yaml")
    name = yaml_name(config.get("yaml_file")) if isinstance(config, Mapping) else ""
    return name or f"own architecture ({head.class_name} head)"
