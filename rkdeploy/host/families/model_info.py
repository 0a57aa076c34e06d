"""Facts about a checkpoint's model, common to all families."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.contract.formulas import AngleFormula, KeypointLayout
from rkdeploy.contract.spec import Anchors, Task

ACTIVATION_CLASSES = frozenset({
    "SiLU", "Swish", "MemoryEfficientSwish", "Hardswish", "Mish", "MemoryEfficientMish", "LeakyReLU", "ReLU", "ReLU6",
    "Sigmoid", "Tanh", "PReLU", "ELU", "GELU", "FReLU", "Identity",
})  # fmt: skip
"""Class names of activations; each has an emitter in `rkdeploy.host.export.layers`."""


@dataclass(frozen=True, slots=True)
class AnchorComparison:
    """Comparison of the model's anchors with the published defaults of its family.

    Attributes:
        are_defaults: True if equal to the published ones within 0.05 px.
        largest_ratio: largest of width or height over the default's, or its inverse; 1.0 when equal.  None when the
            number of levels or anchors differs, so that there is nothing to compare.
        data_set: data set of the defaults, `COCO`.
    """

    are_defaults: bool
    largest_ratio: float | None
    data_set: str = "COCO"


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """The facts of a training run and its weights, which every family's files state alike.

    Attributes:
        parameters: number of trained parameters.
        image_size: training image size in pixels (longer side), None when the file does not say.
        weights: the file's weights that were taken (`ema`, `model`).
        stored_dtype: element type in the file.
        epoch: last epoch, None when the file does not say; -1 for a stripped checkpoint.
        date: when it was saved, in the trainer's format; None when the file does not say.
    """

    parameters: int
    image_size: int | None
    weights: str
    stored_dtype: str
    epoch: int | None
    date: str | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The facts of a trained model.

    Attributes:
        family, generation: for example `yolov5` and `v6.0 to v7.0 (6x6 stem, SPPF)`.
        task: detection, segmentation, ...
        class_names: one per class, in score order.
        strides: input pixels per cell, one per level, finest first.
        anchors: pixels of the network input, None for anchor-free families.
        anchor_comparison: with the published defaults, None for anchor-free families.
        activation: the class names of its activations, most frequent first.
        blocks: block classes and how many of each.
        training: facts of its training run and its weights.
        end_to_end: the head in use gives each object once and needs no non-maximum suppression.
        dual_head: the checkpoint has such a head and one that needs suppression (YOLOv10, YOLO26).
        masks: mask coefficients per object, 0 for models without.
        keypoints: of a pose model, else None.
        angle: of a model with rotated boxes, else None.
        class_maps: names of the whole-image maps, in addition to detections or alone.
        has_class_names: True if the file names its classes.
        usual_size: longer side of the input of the published model of this form in pixels, for a file that does not
            say its own; None takes the usual one of YOLOs.
        usual_hw: the same as height and width, where they differ.
        partial_cells: whether the last row and column of cells may reach beyond the input, so that its size need not be
            a multiple of the strides.
        image_hw: height and width of the training images in pixels, if the file says both.
        says_images: whether the checkpoint's family says how images are prepared; otherwise --preset does.
        assumed_anchors: whether the anchors are not of the file, and the user may give others.
        notes: what was assumed, for the user.
    """

    family: str
    generation: str
    task: Task
    class_names: tuple[str, ...]
    strides: tuple[int, ...]
    anchors: Anchors | None
    anchor_comparison: AnchorComparison | None
    activation: tuple[str, ...]
    blocks: tuple[tuple[str, int], ...]
    training: TrainingFacts
    end_to_end: bool = False
    dual_head: bool = False
    masks: int = 0
    keypoints: KeypointLayout | None = None
    angle: AngleFormula | None = None
    class_maps: tuple[str, ...] = ()
    has_class_names: bool = True
    usual_size: int | None = None
    usual_hw: tuple[int, int] | None = None
    partial_cells: bool = False
    image_hw: tuple[int, int] | None = None
    says_images: bool = True
    assumed_anchors: bool = False
    notes: tuple[str, ...] = ()
