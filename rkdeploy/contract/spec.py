"""The contract that travels with a model: what goes in, what every output tensor means, and how to read it.

A `ModelSpec` is derived from the checkpoint once, proven at build time, stored next to the `.rknn` as `contract.json`,
and is all that the board side needs.  Plain frozen data; nothing here knows about files, graphs or hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta

from rkdeploy.contract.bounds import Figure, Pixels, Positive

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
DepthKind = Literal["metric", "relative", "inverse"]
Alignment = Literal["none", "face"]
TensorDtype = Literal["int8", "uint8", "int16", "float16", "float32"]
FormName = Literal["rkdeploy", "zoo", "frigate", "ultralytics"]
"""Forms of a model's outputs: our own, or the one that another program reads."""
AnchorRole = Literal[
    "anchor_map", "anchor_boxes", "anchor_xy", "anchor_wh", "anchor_scores", "anchor_coefficients",
    "anchor_keypoint_xy", "anchor_keypoint_scores", "anchor_size_bins"
]  # fmt: skip
"""Roles of an anchor head's tensor (1, na * fields, H, W), by the fields in its channels, anchor-major:

- `anchor_map`: x, y, w, h, objectness, class 0, class 1, ..., coefficient 0, ... (5 + nc + nm fields per anchor)
- `anchor_boxes`: x, y, w, h;  `anchor_xy`: x, y;  `anchor_wh`: w, h
- `anchor_scores`: objectness, class 0, class 1, ... (1 + nc fields an anchor)
- `anchor_coefficients`: the mask coefficients (nm fields an anchor)
- `anchor_keypoint_xy`: x, y of each keypoint (`KeypointLayout`);  `anchor_keypoint_scores`: one logit per keypoint
- `anchor_size_bins`: one logit per bin of the width, then one per bin of the height (`SizeBins`)
"""
PointRole = Literal[
    "dfl_boxes", "ltrb_boxes", "center_boxes", "prior_boxes", "decoded_boxes", "objectness", "scores", "keypoint_xy",
    "keypoint_scores", "mask_coefficients", "angles"
]  # fmt: skip
"""Roles of a tensor (1, C, H, W) of an anchor-free head, or of SSD's, by the values in its channels for each cell.
Where a cell has several boxes (`PointFormula.per_cell`, or SSD's anchors), the values of the first come first:

- `dfl_boxes`: 4 * reg_max logits, side-major: the distances to left, top, right and bottom as distributions over
  0 .. reg_max - 1 cells (Distribution Focal Loss);  `ltrb_boxes`: the four distances themselves, in cells
- `center_boxes`: x and y of the center from the cell's point, in cells; logarithms of width and height in cells
- `prior_boxes`: center and size relative to an anchor (`PriorFormula`)
- `decoded_boxes`: what the graph has decoded, of the whole input (`PointFormula.unit`, `PointFormula.corners`)
- `objectness`: one logit, which `PointFormula.score` joins with the classes' (YOLOX, YuNet, PicoDet)
- `scores`: nc class logits
- `keypoint_xy`: x, y of each keypoint, relative to the cell (`KeypointLayout`);  `keypoint_scores`: one visibility
  logit per keypoint
- `mask_coefficients`: nm;  `angles`: one, read by `ModelSpec.angle`
"""
QueryRole = Literal["query_scores", "query_boxes"]
"""Roles of a transformer's head, whose rows are queries instead of cells (1, C, 1, N):

- `query_scores`: nc class logits of each query
- `query_boxes`: x and y of the center, width and height, each as a fraction of the input's width or height
"""
ImageRole = Literal["prototypes", "class_map", "class_scores", "depth_map", "text_logits", "embedding", "area_map"]
"""Tensors that speak of the whole image:

- `prototypes`: (1, nm, H, W), what mask coefficients combine
- `class_map`: (1, n, H, W), one score plane for each of n classes; the largest wins.  (1, 1, H, W) for two classes: the
  second one's probability is above 0.5
- `depth_map`: (1, 1, H, W), read by `ModelSpec.depth`
- `area_map`: (1, 1, H, W), for each pixel the probability that it belongs to the shrunken area of a text, or its logit;
  read by `ModelSpec.areas`
- `class_scores`: (1, nc, 1, 1), a classifier's, or those of an attribute of a text (a plate's color)
- `text_logits`: (1, K, 1, T), K scores of characters in each of T columns along a line of text, read by
  `ModelSpec.text`
- `embedding`: (1, D, 1, 1), a vector of the image, read by `ModelSpec.embedding`
"""
FormRole = Literal["score_sum", "joined"]
"""Tensors that only the forms of other programs have:

- `score_sum`: (1, 1, H, W), the sum of a cell's class scores, at most 1; not read here
- `joined`: several quantities side by side (`HeadOutput.parts`)
"""
OutputRole = AnchorRole | PointRole | QueryRole | ImageRole | FormRole
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
class KeypointLayout:
    """Formula of keypoint tensors.

    A keypoint's x in pixels of the network input is (raw * gain + cell_x + offset) * stride, y alike.  YOLOv8 and 11
    have gain 2 and offset 0, YOLO26 gain 1 and offset 0.5, YOLOv7-pose and -face gain 2 and offset -0.5.  On anchors
    it may be raw * gain * anchor_width + (cell_x + offset) * stride instead, as YOLOv5-face has it with gain 1 and
    offset 0.

    Attributes:
        count: keypoints per object.
        scored: whether each has a visibility score (`kpt_shape` [count, 3]) or not ([count, 2]).
        gain, offset: of the formulas above.
        by_anchor: whether the second formula holds.
        unit: `cells` for the formulas above; otherwise the graph has decoded the keypoints (`PointFormula.unit`).
    """

    count: int
    scored: bool
    gain: float = 2.0
    offset: float = 0.0
    by_anchor: bool = False
    unit: Literal["cells", "pixels", "fractions"] = "cells"


@dataclass(frozen=True, slots=True)
class PointFormula:
    """Formula of the boxes and scores of an anchor-free head that differs from YOLOv8's.

    Attributes:
        offset: of a cell's point from the cell's top left corner, in cells: boxes are measured from there.  0.5 is the
            cell's middle (YOLOv8, NanoDet, PicoDet), 0 its corner (YOLOX, YuNet, NanoDet-Plus, SCRFD).
        score: of a head with `objectness`: `product` is class times objectness (YOLOX), `root` the square root of that
            (YuNet, PicoDet).  `softmax`, without objectness: raw scores are logits less the background's, and a class's
            score is exp(raw) / (1 + sum of exp(raw) over all classes) (SSD; of one class that is the sigmoid).
        per_cell: boxes per cell (SCRFD has 2).
        distance: of `ltrb_boxes`: what is done to the raw values to get distances in cells (`exp`: RTMDet's larger
            sizes; `relu`: FCOS; `pixels`: they are distances in pixels).
        unit: of `decoded_boxes`: pixels of the input, or fractions of its width and height.
        corners: of `decoded_boxes`: left, top, right, bottom instead of center and size.
    """

    offset: Figure = 0.5
    score: Literal["product", "root", "softmax"] = "product"
    per_cell: Annotated[int, Meta(ge=1, le=64)] = 1
    distance: Literal["linear", "exp", "relu", "pixels"] = "linear"
    unit: Literal["pixels", "fractions"] = "pixels"
    corners: bool = False


@dataclass(frozen=True, slots=True)
class PriorFormula:
    """Formula of the boxes of SSD's heads, whose anchors ("priors") stand in the middle of their cells.

    A center's x in pixels of the network input is raw * center_gain * anchor_width + (cell_x + 0.5) * step, a width
    exp(raw * size_gain) * anchor_width, y and height alike.  Source: biubug6/Pytorch_Retinaface, utils/box_utils.py,
    `decode`; the gains are its "variances".

    Attributes:
        center_gain, size_gain: of the formula above.
        steps_px: per level the step from cell to cell in x and y, in pixels, where it is not the outputs' stride (SSD
            with sizes that its strides do not divide); empty if it is.
    """

    center_gain: Positive = 0.1
    size_gain: Positive = 0.2
    steps_px: tuple[tuple[Positive, Positive], ...] = ()


@dataclass(frozen=True, slots=True)
class SizeBins:
    """Bins of an anchor head's sizes, the same ones for width and height.

    With k the bin of the largest logit (the first of equal ones), and s the sigmoid of the raw w of `anchor_wh`, a
    width is min(max(centers[k] + (2 s - 1) * reach, low), high) * anchor_width, a height alike.
    Source: WongKinYiu/yolov7, utils/loss.py, `SigmoidBin.forward`, and models/yolo.py, `IBin`: 21 bins from 0 to 4,
    whose middles are `bins`, and half of `reg_scale` times `step`.

    Attributes:
        centers: middle of each bin, in widths or heights of the anchor.
        reach: largest distance from a middle, in the same unit.
        low, high: limits of the size, in the same unit.
    """

    centers: Annotated[tuple[Figure, ...], Meta(min_length=1, max_length=1000)]
    reach: Positive
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True)
class AnchorFormula:
    """Formula of the boxes of an anchor head that differs from YOLOv5's.

    With s = sigmoid(raw), a center's x in pixels of the network input is (g s - (g - 1) / 2 + cell_x) * stride, y
    alike.  YOLOv5 has g = 2 and the size (2 s)^2 * anchor.  Darknet's [yolo] has g = `scale_x_y`, which differs between
    levels (1.2, 1.1 and 1.05 in YOLOv4), and the size exp(raw) * anchor, or with `new_coords` (2 s)^2 * anchor.
    Source: AlexeyAB/darknet, src/yolo_layer.c, get_yolo_box.

    Attributes:
        center_gains: g of the formula above, one per level, finest first; a single one is that of all levels.
        size: `square` is (2 s)^2 * anchor, `exp` is exp(raw) * anchor.  It is not read where there are bins.
        bins: of sizes that are chosen among some (YOLOv7's IBin), else None.
    """

    center_gains: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (2.0,)
    size: Literal["square", "exp"] = "square"
    bins: SizeBins | None = None

    def center_gain(self, level: int) -> float:
        """The gain of a level, 0 the finest."""
        return self.center_gains[level if len(self.center_gains) > 1 else 0]


@dataclass(frozen=True, slots=True)
class AngleFormula:
    """Formula of the angle of a rotated box, in radians: `gain * f(raw) + offset`.

    Attributes:
        sigmoid: whether f is the sigmoid; otherwise raw is taken as it is.  Where it is, `HeadOutput.activation` says
            whether the graph has done it.
        gain, offset: YOLOv8 and 11: (sigmoid(raw) - 0.25) * pi.
    """

    sigmoid: bool
    gain: float
    offset: float


@dataclass(frozen=True, slots=True)
class ClassMapSpec:
    """One `class_map` output.

    Attributes:
        output: name of the tensor.
        class_names: one per plane; two for a tensor of one plane.
        background: whether the first class is the background, which is neither drawn nor listed.
        corners: whether the map's corner cells lie on the input's corner pixels (`align_corners`), else the map covers
            the input edge to edge.
    """

    output: str
    class_names: tuple[str, ...]
    background: bool = True
    corners: bool = False


@dataclass(frozen=True, slots=True)
class DepthFormula:
    """Formula of a `depth_map`: `f(gain * min(max(raw, low), high) + offset)`.

    Attributes:
        kind: meaning of the result.  `metric` is meters.  `relative` grows with the distance, in a unit of its own that
            differs from image to image.  `inverse` shrinks with it: relative inverse depth (MiDaS, Depth Anything).
        exponential: whether f is the exponential function; otherwise it leaves its argument as it is.
        gain, offset: of the formula.
        low, high: limits of raw; None for none.
        corners: see `ClassMapSpec`.
    """

    kind: DepthKind
    exponential: bool = False
    gain: Positive = 1.0
    offset: Figure = 0.0
    low: Figure | None = None
    high: Figure | None = None
    corners: bool = False


@dataclass(frozen=True, slots=True)
class TextFormula:
    """Formula of `text_logits`: connectionist temporal classification (CTC), read greedily.

    The best of the K scores in each column is a character or the blank.  A character that follows itself is the same
    one; the blank is left out.  Source: A. Graves et al., *Connectionist Temporal Classification* (2006), best path
    decoding.

    Attributes:
        characters: the text of each score; that of the blank is empty.
        blank: number of the blank.
    """

    characters: Annotated[tuple[Annotated[str, Meta(max_length=16)], ...], Meta(min_length=2, max_length=1 << 17)]
    blank: Annotated[int, Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class EmbeddingFormula:
    """Meaning of an `embedding`: images are as alike as the cosine of the angle between their vectors is large.

    The board divides the vector by its length, so that a product of two is that cosine.

    Attributes:
        normalized: whether the network has done that before it ends.
        alignment: how the image has to be cut out of its photo.  `none` is any crop; `face` is a face that is turned
            and scaled until its five landmarks lie on ArcFace's template.
    """

    normalized: bool = False
    alignment: Alignment = "none"


@dataclass(frozen=True, slots=True)
class AreaFormula:
    """Formula of the rotated boxes in an `area_map` (Differentiable Binarization, DB).

    Around each connected set of pixels above `threshold` lies the rectangle of least area.  Its score is the mean
    probability inside of it.  The network was trained on shrunken areas: each side of the rectangle is moved outward by
    area * `unclip` / perimeter.  Source: PaddlePaddle/PaddleOCR, ppocr/postprocess/db_postprocess.py.

    Attributes:
        threshold: probability above which a pixel belongs to an area.
        box_threshold: score above which a box is kept, unless the user gives another.
        unclip: of the formula above.
        smallest: shortest side of a rectangle that is kept, in pixels of the map.
        most: number of rectangles per image, as PaddleOCR's `max_candidates`.
    """

    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    box_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.6
    unclip: Positive = 1.5
    smallest: Positive = 3.0
    most: Annotated[int, Meta(ge=1, le=10_000)] = 1000


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
