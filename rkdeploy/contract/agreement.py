"""Agreement of the quantized with the float model, as plain data: the proof in `build.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.contract.accuracy import FloatTruthAp
from rkdeploy.contract.bounds import Figure, Text, Whole
from rkdeploy.contract.roles import OutputRole


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """One head tensor, the quantized model in the simulator against the float model.

    Attributes:
        name, role: of the output.
        cosine: cosine similarity over all images, 1.0 when parallel.
        max_error: largest absolute difference, in the tensor's own unit (logits, or 0..1 after a sigmoid).
        saturated: share of the simulator's values at either end of the integer range; None for float outputs.
        reachable_score: largest score (0..1) that the tensor can represent; None for tensors without scores.
        float_peak, built_peak: largest objectness found, float and simulator; None for tensors without scores.
    """

    name: Text
    role: OutputRole
    cosine: Figure
    max_error: Figure
    saturated: Figure | None
    reachable_score: Figure | None
    float_peak: Figure | None
    built_peak: Figure | None


@dataclass(frozen=True, slots=True)
class KeypointAgreement:
    """Keypoints of matched objects, those that the float model sees (visibility above 0.5).

    Attributes:
        points: how many.
        median_shift_px, p95_shift_px: distance of the quantized model's points from the float model's, in pixels of
            the network input.
        similarity: object keypoint similarity (OKS) from which two poses count as alike.
        alike: share of matched objects that are.
    """

    points: Whole
    median_shift_px: Figure
    p95_shift_px: Figure
    similarity: Figure
    alike: Figure


@dataclass(frozen=True, slots=True)
class MapAgreement:
    """A class map of the quantized model against the float model's.

    Attributes:
        output: name of the output.
        same: share of source pixels of the same class.
        mean_iou: over the classes that the float model gives to one pixel in a thousand or more; None where there is
            no pixel.
        interval: (low, high) of `mean_iou`, 95 %, by a bootstrap over the images; None in older bundles.
        same_interval: (low, high) of `same`, made in the same way; None in older bundles.
    """

    output: Text
    same: Figure
    mean_iou: Figure | None
    interval: tuple[Figure, Figure] | None = None
    same_interval: tuple[Figure, Figure] | None = None


@dataclass(frozen=True, slots=True)
class DepthAgreement:
    """The quantized model's depth with the float model's as the truth: means over the images.

    Attributes:
        abs_rel: mean of |built - float| / float over the source pixels.
        delta1: share of pixels where one depth is less than 1.25 times the other.
        abs_rel_interval, delta1_interval: (low, high), 95 %, by a bootstrap over the images.
    """

    abs_rel: Figure
    delta1: Figure
    abs_rel_interval: tuple[Figure, Figure]
    delta1_interval: tuple[Figure, Figure]


@dataclass(frozen=True, slots=True)
class EmbeddingAgreement:
    """The quantized model's embeddings against the float model's.

    Attributes:
        cosine: of the angle between the two embeddings of an image, mean over the images.
        worst: lowest cosine of an image.
        cosine_interval: (low, high) of `cosine`, 95 %, by a bootstrap over the images.
        nearest: share of images whose nearest other one by the quantized model is the float model's nearest too, or as
            near by the float model to within `tie`; None for fewer than three images.
        nearest_interval: (low, high) of `nearest`, made in the same way.
        tie: difference of cosines that counts as none.
    """

    cosine: Figure
    worst: Figure
    cosine_interval: tuple[Figure, Figure]
    nearest: Figure | None
    nearest_interval: tuple[Figure, Figure] | None
    tie: Figure


@dataclass(frozen=True, slots=True)
class TextAgreement:
    """The quantized model's texts against the float model's, where either is certain of three characters or more.

    Attributes:
        lines: how many there are.
        confidence: confidence of every character from which a text is certain.
        same: share of lines with the same text.
        characters: mean of 1 less the edit distance over the length of the longer text.
        same_interval, characters_interval: (low, high), 95 %, by a bootstrap over the images.
    """

    lines: Whole
    confidence: Figure
    same: Figure
    characters: Figure
    same_interval: tuple[Figure, Figure]
    characters_interval: tuple[Figure, Figure]


@dataclass(frozen=True, slots=True)
class FoundShare:
    """Share of one model's detections that the other model has too.

    Average precision ranks by score: it does not see scores that all fell alike, nor many false detections with low
    scores.  These do.

    Attributes:
        confidence: score from which a detection of the one model counts.
        other_confidence: score from which the other model has it.
        iou: overlap from which it has it, by a detection of the same class.
        objects: how many count.
        found: share of them that the other has, 0..1.
        interval: (low, high) of `found`, 95 %, by a bootstrap over the images.
    """

    confidence: Figure
    other_confidence: Figure
    iou: Figure
    objects: Whole
    found: Figure
    interval: tuple[Figure, Figure]


MeasureName = Literal[
    "ap", "ap50", "recall", "precision", "mean_iou", "same_class", "depth", "delta1", "same_text", "characters",
    "first_class", "matched", "cosine", "nearest",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure from 0 to 1 of the agreement of the quantized model with the float model.

    Attributes:
        name: `ap50`, average precision at an overlap of 0.5 with the float model's detections as the truth; `ap`, its
            mean over overlaps of 0.5 to 0.95; `recall` and `precision`, see `Agreement`; `mean_iou` of a class map, and
            `same_class`, share of its pixels of the same class; `depth`, 1 less AbsRel (0 where that is above 1), and
            `delta1` of depth; `same_text` and `characters`, see `TextAgreement`; `first_class`, share of images with
            the same first class; `cosine`, the mean one of embeddings, and `nearest`, see `EmbeddingAgreement`;
            `matched`, in older bundles, share of the float model's detections matched.
        of: kind of object or name of the class map.
        value: the figure.
        interval: (low, high), 95 %.
        count: how many objects or images it rests on.
        unit: what is counted.
    """

    name: MeasureName
    of: Text
    value: Figure
    interval: tuple[Figure, Figure]
    count: Whole
    unit: Literal["objects", "images"]


@dataclass(frozen=True, slots=True)
class Proof:
    """Result of the comparison with the float model.

    Attributes:
        standing: `agrees`; `weak`, so far from the float model that the user should look; `unproven`, nothing or too
            little was there to judge by.
        reason: `measured`, `few_objects`, `few_images`, `no_objects`, `no_images`, or `no_decode` where nothing shows
            that the outputs are decoded right.
        measure: the figure that decided, the lowest; None without one.
    """

    standing: Literal["agrees", "weak", "unproven"]
    reason: Literal["measured", "few_objects", "few_images", "no_objects", "no_images", "no_decode"]
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The quantized model in the simulator against the float model, on images not used for calibration.

    A float detection is matched by a simulated one of its class with IoU of at least `iou` and a score that differs by
    less than `score_difference`; each is used once.

    Attributes:
        figures_from: the simulator and its version.
        images: number of images.
        source: where they come from.
        confidence: detections from this score up were compared.
        outputs: tensor by tensor.
        float_detections, built_detections: how many each found.
        matched: how many float detections were matched.
        iou, score_difference: the rule above.
        mean_iou: of the matched pairs, None when there is none.
        mean_score_difference: of the matched pairs, None when there is none.
        keypoints: of a pose model with matched objects, else None.
        mask_iou: mean IoU of the masks of matched objects, None where there are none.
        class_maps: one for each class map.
        same_first_class: share of images whose first class is the same; None unless a classifier.
        average_precisions: of the built model's detections with the float model's as the truth, boxes first; empty for
            models that find no objects, where it found none, and in older bundles.
        built_confidence: the built model's detections were ranked down to this score.
        same_first_class_interval: (low, high), 95 %, by a bootstrap over the images.
        recall: share of the objects that the float model is sure of, well above the threshold of use, that the
            quantized model finds; None where there are none, and in older bundles.
        precision: share of the quantized model's detections that the float model has with any score; None as for
            `recall`.
        depth: of a depth model, else None.
        embedding: of a model that gives embeddings, else None.
        text: of a text recognizer whose texts could be compared, else None.
    """

    figures_from: Text
    images: Whole
    source: Text
    confidence: Figure
    outputs: tuple[OutputAgreement, ...]
    float_detections: Whole
    built_detections: Whole
    matched: Whole
    iou: Figure
    score_difference: Figure
    mean_iou: Figure | None
    mean_score_difference: Figure | None
    keypoints: KeypointAgreement | None = None
    mask_iou: Figure | None = None
    class_maps: tuple[MapAgreement, ...] = ()
    same_first_class: Figure | None = None
    average_precisions: tuple[FloatTruthAp, ...] = ()
    built_confidence: Figure = 0.05
    same_first_class_interval: tuple[Figure, Figure] | None = None
    recall: FoundShare | None = None
    precision: FoundShare | None = None
    depth: DepthAgreement | None = None
    embedding: EmbeddingAgreement | None = None
    text: TextAgreement | None = None

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Figures of how well the quantized model agrees with the float model, one per kind of result."""
        found = [
            Measure("ap50", one.kind, one.ap50, one.ap50_interval, one.objects, "objects")
            for one in self.average_precisions
        ]
        if self.recall is not None and self.average_precisions:
            one = self.recall
            found.append(Measure("recall", "boxes", one.found, one.interval, one.objects, "objects"))
        if self.precision is not None and self.average_precisions:
            one = self.precision
            found.append(Measure("precision", "boxes", one.found, one.interval, one.objects, "objects"))
        found += [
            Measure("mean_iou", one.output, one.mean_iou, one.interval or (one.mean_iou, one.mean_iou), self.images,
                    "images")
            for one in self.class_maps
            if one.mean_iou is not None
        ]  # fmt: skip
        found += [
            Measure("same_class", one.output, one.same, one.same_interval, self.images, "images")
            for one in self.class_maps
            if one.same_interval is not None
        ]
        if self.depth is not None:
            error, (low, high) = self.depth.abs_rel, self.depth.abs_rel_interval
            ends = max(0.0, 1 - high), max(0.0, 1 - low)
            found.append(Measure("depth", "", max(0.0, 1 - error), ends, self.images, "images"))
            found.append(Measure("delta1", "", self.depth.delta1, self.depth.delta1_interval, self.images, "images"))
        if self.embedding is not None:
            found += _of_embedding(self.embedding, self.images)
        if self.text is not None:
            one_text = self.text
            found.append(Measure("same_text", "", one_text.same, one_text.same_interval, one_text.lines, "images"))
            found.append(
                Measure("characters", "", one_text.characters, one_text.characters_interval, one_text.lines, "images")
            )
        if self.same_first_class is not None:
            ends = self.same_first_class_interval or (self.same_first_class, self.same_first_class)
            count = self.images if self.text is None else self.text.lines
            found.append(Measure("first_class", "", self.same_first_class, ends, count, "images"))
        if not found and self.share is not None:  # a bundle from before average precision was measured
            found.append(
                Measure("matched", "boxes", self.share, (self.share, self.share), self.float_detections, "objects")
            )
        return tuple(found)

    @property
    def headline(self) -> Measure | None:
        """The one figure that builds are compared by; None where float found nothing.

        Average precision of the boxes, the mean over overlaps, which tells builds apart where AP50 is 1 for all; else
        the lowest of `measures`.
        """
        if self.average_precisions:
            first = self.average_precisions[0]
            return Measure("ap", first.kind, first.ap, first.ap_interval, first.objects, "objects")
        return min(self.measures, key=lambda one: one.value, default=None)

    @property
    def share(self) -> float | None:
        """Matched float detections over all, None when float found nothing."""
        return self.matched / self.float_detections if self.float_detections else None


def _of_embedding(one: EmbeddingAgreement, images: int) -> list[Measure]:
    low, high = one.cosine_interval
    found = [Measure("cosine", "", max(0.0, one.cosine), (max(0.0, low), max(0.0, high)), images, "images")]
    if one.nearest is not None and one.nearest_interval is not None:
        found.append(Measure("nearest", "", one.nearest, one.nearest_interval, images, "images"))
    return found
