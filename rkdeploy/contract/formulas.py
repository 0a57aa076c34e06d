"""Formulas of a decode that the contract states: keypoints, boxes, scores, angles, maps, texts, vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.contract.bounds import Figure, Positive

DepthKind = Literal["metric", "relative", "inverse"]
Alignment = Literal["none", "face"]


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

    With s = sigmoid(raw), a center's x in pixels of the network input is (g s - (g - 1) / 2 + d + cell_x) * stride, y
    alike, d being `center_shift`.  YOLOv5 has g = 2 and the size (2 s)^2 * anchor.  Darknet's [yolo] has g =
    `scale_x_y`, which differs between levels (1.2, 1.1 and 1.05 in YOLOv4), and the size exp(raw) * anchor, or with
    `new_coords` (2 s)^2 * anchor.
    Source: AlexeyAB/darknet, src/yolo_layer.c, get_yolo_box.

    Attributes:
        center_gains: g of the formula above, one per level, finest first; a single one is that of all levels.
        size: `square` is (2 s)^2 * anchor, `exp` is exp(raw) * anchor, `share` is s * anchor (FastestDet, whose one
            anchor is the input).  It is not read where there are bins.
        bins: of sizes that are chosen among some (YOLOv7's IBin), else None.
        classes: of a class's score next to the objectness: the sigmoid of its logit, or its share of a softmax over all
            classes (Yolo-FastestV2).
        center_shift: of the centers, in cells.
        powers: a of the objectness and b of the class's score in the score objectness^a * score^b.
    """

    center_gains: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (2.0,)
    size: Literal["square", "exp", "share"] = "square"
    bins: SizeBins | None = None
    classes: Literal["sigmoid", "softmax"] = "sigmoid"
    center_shift: Figure = 0.0
    powers: tuple[Positive, Positive] = (1.0, 1.0)

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
