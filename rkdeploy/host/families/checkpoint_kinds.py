"""Kinds of checkpoints that this version does not build, recognized by their classes or by the keys of their weights.

One signature per kind.  A family may know a kind well enough to describe it (YOLOv7's anchors and names serve an ONNX
file); other kinds are refused by name as soon as they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint import Checkpoint, Module
from rkdeploy.host.families.checkpoint_facts import head_of, landmark_count, layers_of, weights_of

_LIST = "docs/families.md lists the models that build."
_CLASSIFIER = (
    'Its ONNX builds: torch.onnx.export(model.eval(), torch.zeros(1, 3, 224, 224), "best.onnx") where the model\'s '
    "code is, then rkdeploy build best.onnx --names names.txt"
)
YOLOV7_BLOCKS = frozenset({"MP", "SP", "SPPCSPC", "GhostSPPCSPC", "RepConv_OREPA"})
"""Blocks of YOLOv7's code that neither YOLOv5 nor YOLOR has."""
_IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class CheckpointKind:
    """A kind of checkpoint.

    Attributes:
        name: with its article, as "is ..." takes it.
        matches: recognizes a checkpoint of this kind.
        advice: hint for the user, with {file} for its name; may be empty.
        unless: name of a family that a user can give with --family, which says that it is not of this kind.
    """

    name: str
    matches: Callable[[Checkpoint], bool]
    advice: str = ""
    unless: str = ""


def kind_of_model(checkpoint: Checkpoint, family_name: str | None = None) -> CheckpointKind | None:
    """The kind of a pickled model that is not built, even if a family describes it; None for others.

    Args:
        checkpoint: the file.
        family_name: family that the user says it is of, if any.
    """
    kind = next((kind for kind in MODELS if kind.matches(checkpoint)), None)
    return kind if kind is None or not kind.unless or kind.unless != family_name else None


def kind_of(checkpoint: Checkpoint) -> CheckpointKind | None:
    """The kind of a checkpoint that no family recognizes; None if it is unknown."""
    found = kind_of_model(checkpoint)
    return found or next((kind for kind in STATE_DICTS if kind.matches(checkpoint)), None)


def require_buildable(checkpoint: Checkpoint, family_name: str | None = None) -> None:
    """Check that this version can write a checkpoint's graph.

    Args:
        checkpoint: the file.
        family_name: family that the user says it is of, if any.

    Raises:
        CheckpointError: naming its kind, or its number of input channels.
    """
    kind = kind_of_model(checkpoint, family_name)
    if kind is not None:
        raise refusal(kind, checkpoint)
    channels = input_channels(checkpoint)
    if channels not in (None, *_IMAGE_CHANNELS):
        raise CheckpointError(
            f'"{checkpoint.path.name}" takes images with {channels} channels, expected 3 (color) or 1 (gray): such '
            "models are not supported.",
            "Train it on color or gray images.",
        )


def refusal(kind: CheckpointKind, checkpoint: Checkpoint) -> CheckpointError:
    """The error for a checkpoint of a kind that is not built."""
    name = checkpoint.path.name
    return CheckpointError(
        f'"{name}" is {kind.name}. This version does not build it.', (kind.advice or _LIST).format(file=name)
    )


def input_channels(checkpoint: Checkpoint) -> int | None:
    """Channels of the images that the first convolution takes; None if unknown."""
    layers = [layer for layer in layers_of(checkpoint)[:2] if layer.class_name != "Silence"]
    weight = next(_convolution_weights(layers[0]), None) if layers else None
    if weight is None:
        return None
    # Four pixel phases; the Focus of Rockchip's fork of 2021 is a plain convolution instead.
    return weight // 4 if layers[0].class_name in {"Focus", "ReOrg"} and weight % 4 == 0 else weight


def _convolution_weights(module: Module) -> Iterator[int]:
    """Input channels of the convolutions in a module, in their order."""
    for part in module.walk():
        weight = part.tensors.get("weight")
        if weight is not None and len(weight.shape) == 4 and part.attribute("groups", 1) == 1:
            yield int(weight.shape[1])


# --------------------------------------------------------------------------------------------------------------------
# Signatures
# --------------------------------------------------------------------------------------------------------------------


def is_yolov7(checkpoint: Checkpoint) -> bool:
    """True for YOLOv7: an anchor head of its own, or behind blocks that only it has."""
    head = head_of(checkpoint)
    if head is None or "anchors" not in head.tensors:
        return False
    blocks = {layer.class_name for layer in layers_of(checkpoint)}
    return head.class_name in {"IAuxDetect", "IKeypoint", "IBin"} or (
        head.class_name in {"IDetect", "Detect"} and bool(blocks & YOLOV7_BLOCKS)
    )


def _ends_in(*classes: str) -> Callable[[Checkpoint], bool]:
    """True if the last layer has one of these classes."""

    def matches(checkpoint: Checkpoint) -> bool:
        head = head_of(checkpoint)
        return head is not None and head.class_name in classes

    return matches


def _of_package(*packages: str) -> Callable[[Checkpoint], bool]:
    """True if the model's class is defined in one of these packages."""

    def matches(checkpoint: Checkpoint) -> bool:
        return any(checkpoint.root.module_name.startswith(f"{package}.") for package in packages)

    return matches


def _is_armor(checkpoint: Checkpoint) -> bool:
    """True for a row of yolov5-RM: where YOLOv5-face would have 8 landmarks and 8 classes.

    Source: models/yolo.py of cxnaive/yolov5-RM, whose row has 5 + 10 + nc + 4 + 2 numbers.
    """
    head = head_of(checkpoint)
    return head is not None and head.attribute("nc") == 8 and landmark_count(checkpoint) == 8


def _keys(*names: str, inside: str = "") -> Callable[[Checkpoint], bool]:
    """True if a state dict has all of these names at its top, or below the name `inside`."""

    def matches(checkpoint: Checkpoint) -> bool:
        if not checkpoint.is_state_dict:
            return False
        root: Module | None = weights_of(checkpoint)
        root = root.children.get(inside) if inside and root is not None else root
        return root is not None and set(names) <= {*root.children, *root.tensors}

    return matches


def _numbered_layers(checkpoint: Checkpoint) -> bool:
    """Weights named by the number of their layer, as in YOLOv5, v7 and Ultralytics."""
    model = checkpoint.root.children.get("model") if checkpoint.is_state_dict else None
    return model is not None and len(model.children) > 4 and all(name.isdecimal() for name in model.children)


MODELS = (
    CheckpointKind(
        "an armor detector as yolov5-RM trains it, by its 29 numbers per anchor: 5 landmarks, 8 classes, 4 colors and "
        "2 sizes",
        _is_armor,
        "If it is a YOLOv5-face with 8 landmarks and 8 classes instead: rkdeploy build {file} --family yolov5-face",
        unless="yolov5-face",
    ),
    CheckpointKind("a panoptic segmentation (YOLOv9)", _ends_in("Panoptic")),
    CheckpointKind("a depth model of another kind", _ends_in("DepthHead", "DepthDetect", "Depth26")),
    CheckpointKind(
        "a semantic segmentation of another kind", _ends_in("SemSeg", "Semantic", "SemanticSegment26")
    ),
    CheckpointKind("a YOLO-NAS or another model of super-gradients", _of_package("super_gradients")),
    CheckpointKind("a NanoDet model", _of_package("nanodet")),
    CheckpointKind(
        "a segmentation or detection model of torchvision",
        _of_package("torchvision.models.segmentation", "torchvision.models.detection"),
    ),
    CheckpointKind(
        "a classifier of torchvision or timm", _of_package("torchvision.models", "timm.models"), _CLASSIFIER
    ),
)  # fmt: skip
"""Recognized by classes.  The first match counts."""

STATE_DICTS = (
    CheckpointKind(
        "the state dict of a RetinaFace that is not biubug6's MobileNet, ResNet-50, slim or RFB",
        _keys("ClassHead", "BboxHead", "LandmarkHead"),
    ),
    CheckpointKind(
        "the state dict of an SSD that is not UltraFace's slim or RFB",
        _keys("base_net", "classification_headers", "regression_headers"),
    ),
    CheckpointKind(
        "the state dict of a Faster, Mask or Keypoint R-CNN of torchvision", _keys("backbone", "rpn", "roi_heads")
    ),
    CheckpointKind(
        "the state dict of a RetinaNet or FCOS of torchvision, or of its SSD300",
        _keys("classification_head", "regression_head", inside="head"),
        "Of torchvision's detectors SSDLite320 on MobileNetV3-Large builds.",
    ),
    CheckpointKind("the state dict of a FaceBoxes detector", _keys("loc", "conf", "inception1")),
    CheckpointKind("the state dict of an LPRNet (plate text)", _keys("backbone", "container")),
    CheckpointKind("the state dict of a CRNN for plates (text, perhaps colors)", _keys("feature", "newCnn")),
    CheckpointKind("the state dict of a CRNN (text)", _keys("cnn", "rnn")),
    CheckpointKind(
        "the state dict of a Yolo-FastestV2 of another form",
        _keys("output_reg_layers", "output_obj_layers", "output_cls_layers"),
    ),
    CheckpointKind("the state dict of a NanoDet", _keys("gfl_cls", inside="head")),
    CheckpointKind("the state dict of a YOLO-NAS", _keys("backbone", "neck", "heads")),
    CheckpointKind("the state dict of a DETR", _keys("transformer", "class_embed", "bbox_embed")),
    CheckpointKind(
        "the state dict of an RT-DETR, D-FINE or DEIM",
        _keys("dec_score_head", "dec_bbox_head", inside="decoder"),
        "Its ONNX builds: export_onnx.py of its code, then rkdeploy build model.onnx --preset rtdetr",
    ),
    CheckpointKind("the state dict of a Depth Anything", _keys("pretrained", "depth_head")),
    CheckpointKind("the state dict of a semantic segmentation", _keys("encoder", "decoder", "segmentation_head")),
    CheckpointKind("the state dict of a semantic segmentation (UNet)", _keys("inc", "down1", "up1", "outc")),
    CheckpointKind("the state dict of a semantic segmentation (torchvision)", _keys("0", "4", inside="classifier")),
    CheckpointKind("the state dict of a face recognizer (an embedding)", _keys("conv1", "prelu", "layer1", "features")),
    CheckpointKind(
        "the state dict of a ResNet classifier", _keys("conv1", "bn1", "layer1", "layer4", "fc"), _CLASSIFIER
    ),
    CheckpointKind("the state dict of a classifier (MobileNet, EfficientNet, VGG)", _keys("features", "classifier"),
                   _CLASSIFIER),
    CheckpointKind(
        "a state dict of a YOLO model: its weights without the model",
        _numbered_layers,
        "Use the best.pt that the training run saved, which holds the model.",
    ),
)  # fmt: skip
"""Recognized by the keys of the weights.  The first match counts."""
