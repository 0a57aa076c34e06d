"""Precision-recall curves of ranked predictions, and the figures derived from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.accuracy import BestThreshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.accuracy.truth_matching import ClassMatches
    from rkdeploy.accuracy.validators import Tail

_RECALLS: Final = np.linspace(0.0, 1.0, 101)
_CONFIDENCES: Final = np.linspace(0.0, 1.0, 1001)


def average_precision(matches: ClassMatches, tail: Tail) -> NDArray[np.float64] | None:
    """Area under the curve at each overlap, (T,), as in YOLO's validators; None without an object.

    The falling envelope of the precision, read linearly at 101 recalls from the point (0, 1) on and summed by
    trapezoids: `compute_ap` with `method = "interp"` of YOLOv5 (utils/metrics.py, v7.0) and ultralytics (8.4).

    Args:
        matches: of the class.
        tail: continuation of the curve behind its last point, see `Tail`.
    """
    if not matches.truths:
        return None
    areas = []
    for recall, precision in _curves(matches):
        if not len(recall):
            areas.append(0.0)
            continue
        last = recall[-1:] if tail == "cut" else recall[:0]
        x = np.concatenate(((0.0,), recall, last, (1.0,)))
        y = _envelope(np.concatenate(((1.0,), precision, np.zeros(len(last)), (0.0,))))
        read = np.interp(_RECALLS, x, y)
        areas.append(float(((read[1:] + read[:-1]) / 2 * np.diff(_RECALLS)).sum()))
    return np.array(areas)


def coco_average_precision(matches: ClassMatches) -> NDArray[np.float64] | None:
    """Mean precision at each overlap, (T,), as in `COCOeval.accumulate`; None without an object.

    The envelope is read at 101 recalls, each at the next prediction that reaches it, 0 beyond the last.
    """
    if not matches.truths:
        return None
    means = []
    for recall, precision in _curves(matches):
        at = recall.searchsorted(_RECALLS, side="left")
        means.append(float(np.append(_envelope(precision), 0.0)[at].mean()))
    return np.array(means)


def precision_recall(matches: ClassMatches, confidence: float) -> tuple[float | None, float | None]:
    """Precision and recall of the predictions above a confidence, at an overlap of 0.5.

    Precision is None without a prediction, recall without an object.
    """
    scores, found = matches.at(0)
    above = int(np.searchsorted(-scores, -confidence, side="left"))
    hits = int(found[:above].sum())
    return (hits / above if above else None), (hits / matches.truths if matches.truths else None)


def best_threshold(classes: Sequence[ClassMatches]) -> BestThreshold | None:
    """The confidence, in steps of 0.001, with the highest F1 at an overlap of 0.5, mean over the classes with objects.

    For a range of equally good confidences, its middle.  None without an object.
    """
    with_truths = [matches for matches in classes if matches.truths]
    if not with_truths:
        return None
    precisions, recalls, f1s = [], [], []
    for matches in with_truths:
        scores, found = matches.at(0)
        above = np.searchsorted(-scores, -_CONFIDENCES, side="left")
        hits = np.concatenate(((0,), np.cumsum(found)))[above]
        precision = np.divide(hits, above, out=np.ones(len(above)), where=above > 0)  # 1 without predictions
        recall = hits / matches.truths
        total = precision + recall
        precisions.append(precision)
        recalls.append(recall)
        f1s.append(np.divide(2 * precision * recall, total, out=np.zeros(len(total)), where=total > 0))
    f1 = np.mean(f1s, axis=0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    first_run = best[: int(np.argmax(np.append(np.diff(best) > 1, True))) + 1]
    at = int(first_run[len(first_run) // 2])
    return BestThreshold(
        confidence=float(_CONFIDENCES[at]),
        precision=float(np.mean(precisions, axis=0)[at]),
        recall=float(np.mean(recalls, axis=0)[at]),
        f1=float(f1[at]),
    )


def _curves(matches: ClassMatches) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Recall and precision after each prediction, for each overlap."""
    for overlap in range(len(matches.hits)):
        hits = np.cumsum(matches.at(overlap)[1])
        yield hits / matches.truths, hits / np.arange(1, len(hits) + 1)


def _envelope(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best precision at this recall or a higher one."""
    return np.asarray(np.maximum.accumulate(precision[::-1])[::-1])
