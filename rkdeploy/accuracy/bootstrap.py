"""Confidence intervals of figures computed over images, by resampling the images (bootstrap).

B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979: the images are drawn with replacement, as many as
there are, and the figure is computed for each resample.  The resamples are seeded: the same images give the same
interval.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_DRAWS: Final = 200
_PERCENTILES: Final = (2.5, 97.5)
"""The middle 95 % of the resamples."""


def image_weights(images: int) -> NDArray[np.int64]:
    """Count of each image in each resample: (resamples, images) int64, each row sums to `images`."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=_DRAWS)


def interval(figures: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval (low, high) of the figures of all resamples, (resamples,); NaN (no objects) is ignored."""
    low, high = np.percentile(figures[~np.isnan(figures)], _PERCENTILES)
    return float(low), float(high)
