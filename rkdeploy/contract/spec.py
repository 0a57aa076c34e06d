"""The contract that travels with a model: what goes in, what every output tensor means, and how to read it.

A `ModelSpec` is derived from the checkpoint once, proven at build time, stored next to the `.rknn` as `contract.json`,
and is all that the board side needs.  Plain frozen data; nothing here knows about files, graphs or hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta

from rkdeploy.contract.bounds import Figure, Pixels, Positive
from rkdeploy.contract.formulas import (
    AnchorFormula,
    AngleFormula,
    AreaFormula,
    ClassMapSpec,
    DepthFormula,
    EmbeddingFormula,
    KeypointLayout,
    PointFormula,
    PriorFormula,
    TextFormula,
)
from rkdeploy.contract.roles import OutputRole

SCHEMA_VERSION = 1
_MAX_CLASS_NAME = 1000
_WORD: Final = r"^[A-Za-z0-9_.+-]{1,40}$(?!\n)"
_FILE: Final = r"^(?!\.+rknn$)[^/\x00]+\.rknn$(?!\n)"
"""The name of a `.rknn`: it must stay a name, whatever folder it is put together with."""

Task = Literal["detect", "segment", "pose", "obb", "classify", "semantic", "depth", "text", "embedding", "text_areas"]
ColorOrder = Literal["rgb", "bgr"]
Fit = Literal["letterbox", "center_crop", "stretch", "line"]
Place = Literal["center", "top_left"]
Activation = Literal["linear", "sigmoid", "softmax"]
TensorDtype = Literal["int8", "uint8", "int16", "float16", "float32"]
FormName = Literal["rkdeploy", "zoo", "frigate", "ultralytics"]
"""Forms of a model's outputs: our own, or the one that another program reads."""
Dimension = Annotated[int, Meta(gt=0, le=1 << 24)]
Index = Annotated[int, Meta(ge=0, lt=1 << 24)]
Word = Annotated[str, Meta(pattern=_WORD)]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The network's image input.

    The host hands over one contiguous (1, height, width, 3) uint8 image in `color` order.  The network computes
    `(pixel - mean) / std` per channel; inside a `.rknn` the toolkit has built that in.

    Attributes:
        name: tensor name in the graph.
        height, width: network input size in pixels.
        color: channel order the network was trained with.
        mean, std: per channel, in pixel values 0..255.
        fit: how a source image is brought to (height, width).  `letterbox` keeps the aspect ratio and pads;
            `center_crop` keeps it and crops; `stretch` does not keep it; `line` resizes to the full height,
            keeps it and pads on the right, and stretches what is too wide (PP-OCR).
        pad_value: gray level 0..255 of a letterbox's or a line's padding.
        crop_fraction: of a center crop: side of the crop over the shorter side of the resized image, 0..1.  224 cut out
            of 256, as torchvision's classifiers were evaluated, is 0.875.
        place: where a letterbox puts the image: in the middle, or in the top left corner (YOLOX).
        antialias: whether a stretch is antialiased where it shrinks, as torchvision and Pillow do it; else it is
            OpenCV's bilinear resize.
    """

    name: str
    height: Pixels
    width: Pixels
    color: ColorOrder = "rgb"
    mean: tuple[Figure, Figure, Figure] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (255.0, 255.0, 255.0)
    fit: Fit = "letterbox"
    pad_value: Annotated[int, Meta(ge=0, le=255)] = 114
    crop_fraction: Figure = 1.0
    place: Place = "center"
    antialias: bool = True


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization of one tensor: real = (value - zero_point) * scale.

    Attributes:
        dtype: of the tensor's values.
        scale: real units a step.
        zero_point: the value that stands for 0.
    """

    dtype: TensorDtype
    scale: Positive
    zero_point: int


@dataclass(frozen=True, slots=True)
class OutputPart:
    """One quantity in a `joined` tensor.

    Attributes:
        role: what these channels hold.
        channels: their indices, in the order of the role's values.
        activation: see `HeadOutput`.
    """

    role: OutputRole
    channels: Annotated[tuple[Index, ...], Meta(min_length=1)]
    activation: Activation = "linear"


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """One output tensor of the cut graph and of the `.rknn`, in the order in which the runtime returns them.

    Attributes:
        name: tensor name.
        role: what the channels hold.
        level: index of the detection level, 0 the finest; 0 for a tensor of the whole image.
        stride: input pixels per cell: shape[2] cells cover the input's height, and the last may reach beyond it.
        shape: (1, C, H, W), the logical layout; a runtime may hand it over in another memory layout.  With
            `level_strides` the last axis is all cells, and the axes between the first and that are channels:
            (1, C, N) or (1, C1, C2, N).
        activation: what the graph has already applied; `linear` are logits.
        quantization: scale and zero point, or None for a floating-point tensor.
        parts: the quantities of a `joined` tensor, else empty.
        level_strides: of a tensor with the cells of several levels one behind the other, each level's stride, finest
            first; else empty.
    """

    name: str
    role: OutputRole
    level: int
    stride: Annotated[int, Meta(gt=0)]
    shape: Annotated[tuple[Dimension, ...], Meta(min_length=3, max_length=4)]
    activation: Activation = "linear"
    quantization: Quantization | None = None
    parts: tuple[OutputPart, ...] = ()
    level_strides: tuple[Dimension, ...] = ()


@dataclass(frozen=True, slots=True)
class Anchors:
    """Anchor boxes of every level.

    Attributes:
        levels_px: [level][anchor] -> (width, height) in pixels of the network input.  Only levels of SSD's heads have
            different numbers of anchors.
    """

    levels_px: tuple[tuple[tuple[Positive, Positive], ...], ...]

    @property
    def per_level(self) -> int:
        """Number of anchors per level (the same on all levels of a YOLO head)."""
        return len(self.levels_px[0])


@dataclass(frozen=True, slots=True)
class NpuModel:
    """The `.rknn` that the contract speaks of.

    Attributes:
        file: its name in the bundle, such as `best.rknn`; the bundle's other files are named after it.
        target: the SoC that it was built for, as the toolkit names it: `rk3588`.
        dtype: what it computes in, as it was asked of the build: `int8`, `fp16`.
    """

    file: Annotated[str, Meta(pattern=_FILE)]
    target: Word
    dtype: Word


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The whole contract of one model.

    Attributes:
        family: model family, for example `yolov5`; selects the decode.
        task: what the model does.
        class_names: one name per class, in the order of the score channels; of a text those of its attribute, or one
            for the text itself.
        input: the image input.
        outputs: the head tensors, in runtime order.
        anchors: for anchor-based families, else None.
        end_to_end: the head was trained to give each object once (YOLOv10, YOLO26, RT-DETR): its best rows are taken
            as they are, without non-maximum suppression.
        keypoints: for pose models, else None.
        angle: for rotated boxes, else None.
        points: for anchor-free heads that are not read as YOLOv8's, and SSD's with several classes; else None.
        prior_formula: for SSD's heads, else None.
        anchor_formula: for anchor heads that are not read as YOLOv5's, else None.
        class_maps: the maps of the whole image, in the order of their outputs; next to detections, or alone.
        depth: for depth models, else None.
        text: for text recognizers, else None.
        embedding: for models that give a vector of the image, else None.
        areas: for models that find areas of text by a map, else None.
        form: the program whose form the outputs have.
        model: the built model; None as long as there is none, never in a bundle.
        schema_version: version of this schema.
        document: kind of this file.
    """

    family: str
    task: Task
    class_names: Annotated[tuple[str, ...], Meta(min_length=1)]
    input: InputSpec
    outputs: Annotated[tuple[HeadOutput, ...], Meta(min_length=1)]
    anchors: Anchors | None = None
    end_to_end: bool = False
    keypoints: KeypointLayout | None = None
    angle: AngleFormula | None = None
    points: PointFormula | None = None
    anchor_formula: AnchorFormula | None = None
    prior_formula: PriorFormula | None = None
    class_maps: tuple[ClassMapSpec, ...] = ()
    depth: DepthFormula | None = None
    text: TextFormula | None = None
    embedding: EmbeddingFormula | None = None
    areas: AreaFormula | None = None
    form: FormName = "rkdeploy"
    model: NpuModel | None = None
    schema_version: int = SCHEMA_VERSION
    document: Literal["rkdeploy contract"] = "rkdeploy contract"


def has_rotated_boxes(spec: ModelSpec) -> bool:
    """True if a model's objects are rotated boxes."""
    return spec.angle is not None or spec.areas is not None


def is_class_name(name: str) -> bool:
    """True if a class name can be written to a contract, printed and drawn: at most 1,000 characters of text.

    Refused are halves of characters (lone surrogates), which no encoding takes.  Control characters are escaped where a
    name is printed.
    """
    return len(name) <= _MAX_CLASS_NAME and not any("\ud800" <= c <= "\udfff" for c in name)
