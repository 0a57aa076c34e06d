"""The figures of an evaluation, as plain data.  All are shares from 0 to 1; None where there is nothing to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.contract.bounds import Figure, Text, Whole

ACCURACY_VERSION = 1


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """The confidence at which the F1 is highest.

    Attributes:
        confidence: a prediction counts above it.
        precision, recall, f1: there, mean over the classes.
    """

    confidence: Figure
    precision: Figure
    recall: Figure
    f1: Figure


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class.

    Attributes:
        name: of the class.
        truths: labeled objects.
        map50, map50_95: average precision at an overlap of 0.5, and mean over 0.5, 0.55, ... 0.95.
        precision, recall: at the chosen confidence and an overlap of 0.5.
    """

    name: Text
    truths: Whole
    map50: Figure | None
    map50_95: Figure | None
    precision: Figure | None
    recall: Figure | None


@dataclass(frozen=True, slots=True)
class ObjectFigures:
    """Objects, compared by their boxes, rotated boxes, keypoints or masks.

    Attributes:
        kind: boxes, rotated boxes, text areas, keypoints or masks.
        overlap: measure of overlap: IoU, probiou, or OKS.
        map50, map50_95: mean over the classes that have objects, as YOLO's validators read the curve.
        coco_map50, coco_map50_95: the same means, as COCO's tool reads the curve.
        precision, recall: at the chosen confidence, mean over the classes that have them.
        best: the best confidence.
        classes: one per class, in the model's order.
        hmean: harmonic mean of `precision` and `recall`; None in older documents.
    """

    kind: Text
    overlap: Text
    map50: Figure | None
    map50_95: Figure | None
    coco_map50: Figure | None
    coco_map50_95: Figure | None
    precision: Figure | None
    recall: Figure | None
    best: BestThreshold | None
    classes: tuple[ClassFigures, ...]
    hmean: Figure | None = None


@dataclass(frozen=True, slots=True)
class RankingFigures:
    """A classifier: share of images whose class is the first, or among the first five.

    Attributes:
        top1: share of images, 0..1, whose class is the first.
        top5: share of images, 0..1, whose class is among the first five.
    """

    top1: Figure
    top5: Figure


@dataclass(frozen=True, slots=True)
class MapClassFigures:
    """One class of a class map: intersection over union of its pixels, over all images; None where it is nowhere.

    Attributes:
        name: of the class.
        iou: intersection over union of its pixels over all images, 0..1; None where it is nowhere.
    """

    name: Text
    iou: Figure | None


@dataclass(frozen=True, slots=True)
class MapFigures:
    """A class map.

    Attributes:
        name: of the output.
        mean_iou: over the classes that are labeled anywhere.
        pixel_accuracy: share of labeled pixels of the right class.
        classes: in the map's order.
    """

    name: Text
    mean_iou: Figure | None
    pixel_accuracy: Figure | None
    classes: tuple[MapClassFigures, ...]


@dataclass(frozen=True, slots=True)
class DepthFigures:
    """Depth: means over the images.

    Attributes:
        abs_rel: mean of |found - measured| / measured.
        delta1: share of pixels where one is less than 1.25 times the other.
        rmse_m: root of the mean square of the differences, in meters.
        images: how many had enough measured pixels.
        aligned: whether depth without a unit was brought to meters per image first.
    """

    abs_rel: Figure
    delta1: Figure
    rmse_m: Figure
    images: Whole
    aligned: bool


@dataclass(frozen=True, slots=True)
class EmbeddingFigures:
    """Embeddings on labeled identities.

    Attributes:
        top1: share of the queries whose nearest image is of their identity.
        mean_ap: mean average precision: how far in front the images of a query's identity are among all others.
        queries: images whose identity has others.
        identities: number of identities.
        verification: share of pairs judged right, of one identity or of two: mean over ten folds, each with the best
            threshold of the others.
        threshold: cosine that judges the most pairs right.
        pairs: number of pairs.
        given_pairs: whether they are the data's own; otherwise they were made of the folders.
    """

    top1: Figure
    mean_ap: Figure
    queries: Whole
    identities: Whole
    verification: Figure
    threshold: Figure
    pairs: Whole
    given_pairs: bool


@dataclass(frozen=True, slots=True)
class TextFigures:
    """Texts against the right ones.

    Attributes:
        same: share of images whose text is right.
        characters: mean accuracy of characters: 1 less the edit distance over the length of the longer text.
        images: how many.
    """

    same: Figure
    characters: Figure
    images: Whole


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One backend on one data set.

    Attributes:
        backend: name of the backend.
        computes: data type of its arithmetic: `float` for the host's own, else the dtype of the built model.
        figures_from: source of the figures, as a user reads it.
        images: that were evaluated.
        objects: boxes first, then what else the model gives.
        ranking: of a classifier, else None.
        class_maps: one per class map of the model.
        depth: of a depth model, else None.
        embedding: of a model that gives embeddings, else None.
        text: of a text recognizer, else None.
        notes: what the user should know.
        on_npu: whether it ran on a board's NPU: an NPU backend on a Rockchip board.
    """

    backend: Text
    computes: Text
    figures_from: Text
    images: Whole
    objects: tuple[ObjectFigures, ...] = ()
    ranking: RankingFigures | None = None
    class_maps: tuple[MapFigures, ...] = ()
    notes: tuple[Text, ...] = ()
    on_npu: bool = False
    depth: DepthFigures | None = None
    embedding: EmbeddingFigures | None = None
    text: TextFigures | None = None

    def headlines(self) -> dict[str, float]:
        """The figure that stands for each thing that was measured, by its name."""
        found = {f"mAP50-95 ({o.kind})": o.map50_95 for o in self.objects}
        found |= {f"mean IoU ({m.name})": m.mean_iou for m in self.class_maps}
        if self.ranking is not None:
            found["top-1"] = self.ranking.top1
        if self.depth is not None:
            found["delta1 (depth)"] = self.depth.delta1
        if self.text is not None:
            found |= {"right texts": self.text.same, "characters": self.text.characters}
        if self.embedding is not None:
            found |= {"mAP (retrieval)": self.embedding.mean_ap, "verification": self.embedding.verification}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """Several backends on one data set.

    Attributes:
        model: file name of the model.
        source: where the images and labels come from.
        confidence: of `precision` and `recall`, as a user reads it.
        lowest_confidence: predictions above it are in the curves.
        iou: of non-maximum suppression.
        validator: whose ways `map50` and `map50_95` follow: see `rkdeploy.accuracy.validators`.
        multi_label: whether a box counts for each class above the threshold, or for its best one.
        from_coco: whether the labels are a COCO file.
        evaluations: one per backend.
        notes: on the data.
        model_sha256: of the `.rknn`; None where the report is a bundle's own.
        document, schema_version: what this file is.
    """

    model: Text
    source: Text
    confidence: Text
    lowest_confidence: Figure
    iou: Figure
    multi_label: bool
    validator: Text
    from_coco: bool
    evaluations: tuple[Evaluation, ...]
    notes: tuple[Text, ...]
    model_sha256: Text | None = None
    document: Literal["rkdeploy eval"] = "rkdeploy eval"
    schema_version: int = ACCURACY_VERSION

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Notes on the data, then those of each backend."""
        return (*self.notes, *(note for one in self.evaluations for note in one.notes))


@dataclass(frozen=True, slots=True)
class FloatTruthAp:
    """Average precision with the float model's detections as the truth, as COCO's tool computes it; all from 0 to 1.

    Attributes:
        kind: what is compared: boxes, rotated boxes, keypoints or masks.
        objects: the float model's detections, the truth.
        images: how many images have such.
        ap: mean over overlaps of 0.5, 0.55, ... 0.95 and over the classes that have objects.
        ap50, ap75: at an overlap of 0.5 and of 0.75.
        ap_interval, ap50_interval: (low, high), 95 %, by a bootstrap over the images.
    """

    kind: Text
    objects: Whole
    images: Whole
    ap: Figure
    ap50: Figure
    ap75: Figure
    ap_interval: tuple[Figure, Figure]
    ap50_interval: tuple[Figure, Figure]
