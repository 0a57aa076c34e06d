"""Figures of the accuracy bench, from the matches of each picture: means over calibration samples and paired intervals.

Nothing here reads a picture or runs a model.  Two variants are compared on the same pictures and with the same
calibration samples: each resample of the pictures gives one difference, the mean over the samples that both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.bootstrap import image_weights, interval
from rkdeploy.accuracy.float_truth import mean_average_precisions
from rkdeploy.accuracy.truth_matching import ClassMatches

Pictures = Sequence[Sequence[ClassMatches]]
"""The matches of each picture, one per class."""


@dataclass(frozen=True, slots=True)
class Resampled:
    """A figure on all pictures, and on each resample of them.

    Attributes:
        whole: the figure on all pictures; NaN without an object.
        drawn: (B,), on each resample.
    """

    whole: float
    drawn: NDArray[np.float64]

    def minus(self, other: Resampled) -> Resampled:
        """The difference, resample by resample: both must come of the same pictures."""
        return Resampled(self.whole - other.whole, self.drawn - other.drawn)

    def interval(self) -> tuple[float, float]:
        """95 % interval; NaN without an object."""
        return interval(self.drawn) if np.isfinite(self.drawn).any() else (np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of one run over pictures: the mean of IoU 0.50 to 0.95, and the one at 0.50."""

    ap: Resampled
    ap50: Resampled


def precision_of(pictures: Pictures) -> Precision:
    """The average precision of one run, and of its resamples."""
    once = np.ones((1, len(pictures)), np.int64)
    whole = mean_average_precisions(pictures, once)[0]
    drawn = mean_average_precisions(pictures, image_weights(len(pictures)))
    return Precision(
        Resampled(float(whole.mean()), drawn.mean(axis=1)),
        Resampled(float(whole[0]), drawn[:, 0]),
    )


def mean_of(figures: Sequence[Resampled]) -> Resampled:
    """The mean over calibration samples, resample by resample."""
    return Resampled(float(np.mean([f.whole for f in figures])), np.mean([f.drawn for f in figures], axis=0))


def paired(variant: Mapping[int, Resampled], base: Mapping[int, Resampled]) -> Resampled | None:
    """Mean difference of a variant from the base over the calibration samples that both have; None without one."""
    draws = sorted(variant.keys() & base.keys())
    return mean_of([variant[draw].minus(base[draw]) for draw in draws]) if draws else None


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over models.

    Attributes:
        median: over the models.
        worst: the smallest.
        model: that has the smallest.
    """

    median: float
    worst: float
    model: str


def spread(figures: Mapping[str, float]) -> Spread | None:
    """Median and smallest over models, where larger is better; None without a finite figure."""
    known = {model: value for model, value in figures.items() if np.isfinite(value)}
    if not known:
        return None
    model = min(known, key=lambda name: known[name])
    return Spread(float(np.median(list(known.values()))), known[model], model)
