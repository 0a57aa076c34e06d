"""Figures from predictions and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from rkdeploy.accuracy.curves import average_precision, best_threshold, coco_average_precision, precision_recall
from rkdeploy.accuracy.identity_figures import identity_figures
from rkdeploy.accuracy.truth_matching import ClassMatches, Kind, match_all
from rkdeploy.accuracy.validators import validator_of
from rkdeploy.contract.accuracy import (
    ClassFigures,
    DepthFigures,
    EmbeddingFigures,
    Evaluation,
    MapClassFigures,
    MapFigures,
    ObjectFigures,
    RankingFigures,
    TextFigures,
)
from rkdeploy.datasets.truth import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.accuracy.predictions import ImagePrediction
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.datasets.truth import DataImage, LabeledSet, ObjectLabels, Truth
    from rkdeploy.device.postprocess.thresholds import Thresholds

_OVERLAPS: Final[dict[Kind, str]] = {
    "boxes": "IoU",
    "rotated boxes": "probiou, as ultralytics validates",
    "text areas": "IoU of the outlines, as PaddleOCR measures",
    "keypoints": "OKS",
    "masks": "mask IoU in source pixels",
}
_NAMED: Final = 3


def kinds_of(spec: ModelSpec) -> tuple[Kind, ...]:
    """The kinds of a model's objects that are measured."""
    if spec.areas is not None:
        return ("text areas",)
    kinds: list[Kind] = ["rotated boxes" if spec.task == "obb" else "boxes"]
    if spec.keypoints is not None:
        kinds.append("keypoints")
    if any(output.role == "prototypes" for output in spec.outputs):
        kinds.append("masks")
    return tuple(kinds)


def score(
    data: LabeledSet,
    predictions: Sequence[ImagePrediction],
    spec: ModelSpec,
    chosen: Thresholds,
    *,
    backend: str,
    computes: str,
    figures_from: str,
) -> Evaluation:
    """The figures of one backend.

    Args:
        data: the labeled images.
        predictions: one per image, in their order.
        spec: the contract.
        chosen: confidences of the reported precision and recall.
        backend: name of the backend.
        computes: `float`, `int8`, ...
        figures_from: source of the figures.

    Raises:
        DataError: when most images cannot be read, or the labels are unusable.
    """
    broken = [p for p in predictions if p.failure]
    if len(broken) * 2 > len(predictions):
        raise DataError(f"{len(broken)} of {len(predictions)} images cannot be read: {broken[0].failure}")
    notes = []
    if broken:
        named = " ".join(p.failure for p in broken[:_NAMED])
        notes.append(f"{len(broken)} images cannot be read and were left out: {named}")
    whole = [(image, p) for image, p in zip(data.images, predictions, strict=True) if not p.failure]
    found = [p for _, p in whole]
    objects: tuple[ObjectFigures, ...] = ()
    if data.objects is not None:
        objects = tuple(_objects(kind, data.objects, found, spec, chosen) for kind in kinds_of(spec))
    ranked = [
        (image.class_id, p.ranking.tolist())
        for image, p in whole
        if image.class_id is not None and p.ranking is not None
    ]
    return Evaluation(
        backend=backend,
        computes=computes,
        figures_from=figures_from,
        images=len(found),
        objects=objects,
        ranking=_ranking(ranked) if ranked else None,
        class_maps=_class_maps(found, spec) if found and found[0].confusions else (),
        depth=_depth(found, spec),
        embedding=_embedding(data, whole),
        text=_text(found),
        notes=tuple(notes),
    )


def _embedding(data: LabeledSet, whole: Sequence[tuple[DataImage, ImagePrediction]]) -> EmbeddingFigures | None:
    """Retrieval and verification of the images whose identity is known."""
    found = [(i.name, i.class_id, p.embedding) for i, p in whole if p.embedding is not None and i.class_id is not None]
    if not found:
        return None
    names, ids, vectors = zip(*found, strict=True)
    return identity_figures(names, np.array(ids, np.int64), np.stack(vectors), data.pairs)


def _text(predictions: Sequence[ImagePrediction]) -> TextFigures | None:
    """Means over the images whose text is known."""
    figures = [p.text for p in predictions if p.text is not None]
    if not figures:
        return None
    same, characters = (float(value) for value in np.array(figures, np.float64).mean(axis=0))
    return TextFigures(same, characters, len(figures))


def _depth(predictions: Sequence[ImagePrediction], spec: ModelSpec) -> DepthFigures | None:
    """Means over the images that have a measured depth."""
    figures = [p.depth for p in predictions if p.depth is not None]
    if spec.depth is None or not figures:
        return None
    abs_rel, delta1, rmse = (float(value) for value in np.mean(figures, axis=0))
    return DepthFigures(abs_rel, delta1, rmse, len(figures), aligned=spec.depth.kind != "metric")


def _objects(
    kind: Kind, labels: ObjectLabels, predictions: Sequence[ImagePrediction], spec: ModelSpec, chosen: Thresholds
) -> ObjectFigures:
    def pairs() -> Iterator[tuple[Truth, ImagePrediction]]:
        for prediction in predictions:
            yield labels.of(prediction.name, prediction.source_hw), prediction

    points = spec.keypoints.count if spec.keypoints is not None else 0
    matches = match_all(kind, pairs(), len(spec.class_names), points)
    tail = validator_of(spec).tail
    curves = [average_precision(m, tail) for m in matches]
    coco = [coco_average_precision(m) for m in matches]
    confidences = chosen.of_classes(len(spec.class_names)).tolist()
    classes = tuple(
        _class(name, m, ap, float(c))
        for name, m, ap, c in zip(spec.class_names, matches, curves, confidences, strict=True)
    )
    there = [c for c in classes if c.truths]
    precision, recall = _mean([c.precision for c in there]), _mean([c.recall for c in there])
    return ObjectFigures(
        kind=kind,
        overlap=_OVERLAPS[kind],
        map50=_mean([c.map50 for c in there]),
        map50_95=_mean([c.map50_95 for c in there]),
        coco_map50=_mean([None if ap is None else float(ap[0]) for ap in coco]),
        coco_map50_95=_mean([None if ap is None else float(ap.mean()) for ap in coco]),
        precision=precision,
        recall=recall,
        hmean=_harmonic(precision, recall),
        best=best_threshold(matches),
        classes=classes,
    )


def _harmonic(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean of the two; 0 if nothing was found."""
    if precision is None or recall is None:
        return None if recall is None else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _class(name: str, matches: ClassMatches, ap: NDArray[np.float64] | None, confidence: float) -> ClassFigures:
    precision, recall = precision_recall(matches, confidence)
    return ClassFigures(
        name=name,
        truths=matches.truths,
        map50=None if ap is None else float(ap[0]),
        map50_95=None if ap is None else float(ap.mean()),
        precision=precision,
        recall=recall,
    )


def _ranking(ranked: Sequence[tuple[int, list[int]]]) -> RankingFigures:
    return RankingFigures(
        top1=float(np.mean([class_id == best[0] for class_id, best in ranked])),
        top5=float(np.mean([class_id in best[:5] for class_id, best in ranked])),
    )


def _class_maps(predictions: Sequence[ImagePrediction], spec: ModelSpec) -> tuple[MapFigures, ...]:
    figures = []
    for index, stated in enumerate(spec.class_maps):
        counts = np.sum([p.confusions[index] for p in predictions], axis=0)
        unlabeled = sum(p.unlabeled[index] for p in predictions)
        if len(counts) == 2 and not counts[1].any() and unlabeled:
            raise DataError(
                f'The masks of "{stated.output}" hold 0 and 255 only, and 255 stands for ignored pixels.',
                f"Write {stated.class_names[1]} as 1.",
            )
        figures.append(_class_map(stated.output, stated.class_names, counts))
    return tuple(figures)


def _class_map(name: str, class_names: Sequence[str], counts: NDArray[np.int64]) -> MapFigures:
    """Figures of one map from its (truth, found) pixels."""
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    labeled = counts.sum(1) > 0
    ious = [float(b / e) if e else None for b, e in zip(both, either, strict=True)]
    total = int(counts.sum())
    return MapFigures(
        name=name,
        mean_iou=_mean([iou for iou, there in zip(ious, labeled, strict=True) if there]),
        pixel_accuracy=float(both.sum() / total) if total else None,
        classes=tuple(MapClassFigures(n, iou) for n, iou in zip(class_names, ious, strict=True)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
