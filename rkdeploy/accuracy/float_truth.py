"""Average precision of one model with another model's detections as ground truth.

If there are no labels, the float model defines what its quantized model should find.  The float model's detections at
the threshold of use are the truth; the other model's, down to a much lower threshold, are ranked by their score, as in
COCO's tool.  So a detection that moved across the threshold costs nothing, as it would if both were counted at one
threshold: rounding always moves some across.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.accuracy.predictions import prediction_of
from rkdeploy.accuracy.truth_matching import IOU_THRESHOLDS, ClassMatches, Kind, match_all
from rkdeploy.contract.accuracy import FloatTruthAp
from rkdeploy.datasets.truth import RunLengths, Truth

if TYPE_CHECKING:
    from rkdeploy.device.postprocess.detections import Detections

_RECALLS: Final = np.linspace(0.0, 1.0, 101)
_AT_50, _AT_75 = 0, 5
"""Indices of `IOU_THRESHOLDS`."""
_SEEN: Final = 0.5
_AREA_OF_BOX: Final = 0.53
"""Fraction of a box that its object covers, as in ultralytics' validator if there is no mask."""


class FloatTruthMeter:
    """Meter that takes both models' detections, image by image.

    Args:
        kind: what to compare.
        classes: number of classes of the model.
        keypoints: keypoints per object, 0 for models without.
    """

    def __init__(self, kind: Kind, classes: int, keypoints: int = 0) -> None:
        self._kind: Kind = kind
        self._classes = classes
        self._keypoints = keypoints
        self._images: list[tuple[ClassMatches, ...]] = []

    def add(self, truth: Detections, found: Detections, source_hw: tuple[int, int]) -> None:
        """Add one image.

        Args:
            truth: the float model's detections at the threshold of use.
            found: the other model's, down to a lower threshold.
            source_hw: height and width of the image in pixels.

        Raises:
            RkdeployError: when pycocotools is not installed.
        """
        pair = (_truth_of(truth, source_hw), prediction_of("", found, source_hw, (), ()))
        self._images.append(match_all(self._kind, [pair], self._classes, self._keypoints))

    def result(self) -> FloatTruthAp | None:
        """The figures of all images; None if the float model found nothing."""
        per_image = np.array([[m.truths for m in image] for image in self._images], np.int64)
        if not per_image.sum():
            return None
        once = np.ones((1, len(self._images)), np.int64)
        whole = mean_average_precisions(self._images, once)[0]
        drawn = mean_average_precisions(self._images, image_weights(len(self._images)))
        return FloatTruthAp(
            kind=self._kind,
            objects=int(per_image.sum()),
            images=int((per_image.sum(axis=1) > 0).sum()),
            ap=float(whole.mean()),
            ap50=float(whole[_AT_50]),
            ap75=float(whole[_AT_75]),
            ap_interval=interval(drawn.mean(axis=1)),
            ap50_interval=interval(drawn[:, _AT_50]),
        )


def mean_average_precisions(
    images: Sequence[Sequence[ClassMatches]], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """COCO's average precision, as the mean over the classes that have objects, for several weightings of the images.

    Args:
        images: the matches of each image, one per class.
        weights: (B, I), how often each image counts: see `rkdeploy.accuracy.bootstrap`.

    Returns:
        (B, T) at each of `IOU_THRESHOLDS`; NaN for a weighting without an object.
    """
    per_image = np.array([[m.truths for m in image] for image in images], np.int64)
    of_classes = [
        _weighted_average_precision([image[class_id] for image in images], weights)
        for class_id in np.flatnonzero(per_image.sum(axis=0))
    ]
    if not of_classes:
        return np.full((len(weights), len(IOU_THRESHOLDS)), np.nan)
    stacked = np.stack(of_classes)
    known = ~np.isnan(stacked)
    count = known.sum(axis=0)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _truth_of(found: Detections, source_hw: tuple[int, int]) -> Truth:
    """Detections as labels; keypoints count if they are visible."""
    widths, heights = (found.xyxy[:, 2:] - found.xyxy[:, :2]).astype(np.float64).T
    keypoints = None
    if found.keypoints is not None:
        keypoints = found.keypoints.astype(np.float64)
        keypoints[:, :, 2] = np.where(keypoints[:, :, 2] > _SEEN, 2.0, 0.0)
    outlines = None
    if found.masks is not None:
        runs = prediction_of("", found, source_hw, (), ()).masks
        assert runs is not None
        outlines = tuple(RunLengths(source_hw, counts) for counts in runs)
    return Truth(
        xyxy=found.xyxy.astype(np.float64),
        class_ids=found.class_ids.astype(np.int64),
        areas=np.maximum(widths * heights * (_AREA_OF_BOX if found.keypoints is not None else 1.0), 1.0),
        crowd=np.zeros(len(found), np.bool_),
        keypoints=keypoints,
        rotated=found.rotated,
        outlines=outlines,
    )


def _weighted_average_precision(images: Sequence[ClassMatches], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """COCO's average precision of one class with every image counted as often as its weight says.

    `coco_average_precision` for weights of one: the envelope of the precision read at 101 recalls.

    Args:
        images: the class's matches, one per image.
        weights: (B, I).

    Returns:
        (B, T); NaN where the weighted images hold no object of the class.
    """
    scores = np.concatenate([m.scores for m in images])
    order = np.argsort(-scores, kind="stable")
    image_of = np.repeat(np.arange(len(images)), [len(m.scores) for m in images])[order]
    hits = np.concatenate([m.hits for m in images], axis=1)[:, order]
    counts = np.concatenate([m.counts for m in images], axis=1)[:, order]
    truths = weights @ np.array([m.truths for m in images])
    each = weights[:, image_of]
    averages = np.full((len(weights), len(IOU_THRESHOLDS)), np.nan)
    for row in np.flatnonzero(truths):
        right = np.cumsum(each[row] * hits, axis=1)
        precision = right / np.maximum(np.cumsum(each[row] * counts, axis=1), 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for at, (recall, best) in enumerate(zip(right / truths[row], envelope, strict=True)):
            averages[row, at] = np.append(best, 0.0)[recall.searchsorted(_RECALLS, side="left")].mean()
    return averages
