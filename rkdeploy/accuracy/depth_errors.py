"""Errors of a depth map against another one: mean relative error (AbsRel), delta1 and root mean square.

As they are usual since D. Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
2014.  Each is computed per image and averaged over images, as ultralytics' `DepthMetrics` does (8.4, utils/metrics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import DepthKind
from rkdeploy.device.postprocess.detections import FoundDepth

DELTA: Final = 1.25
"""Ratio below which a pixel counts for delta1."""
FEWEST_PIXELS: Final = 10
"""Pixels that an image needs, as in Depth Anything V2's evaluation."""
_LEAST_SHARE: Final = 0.1
"""Smallest value without a unit that others are divided by, in means of the image: relative inverse depth is 0 at the
horizon, where no ratio means anything.
"""


@dataclass(frozen=True, slots=True)
class DepthErrors:
    """Errors of one image.

    Attributes:
        abs_rel: mean of |found - truth| / truth.
        delta1: share of pixels, 0..1, where the larger of both is less than 1.25 times the smaller.
        rmse: root of the mean square of found - truth, in the unit of both.
        pixels: how many were compared.
    """

    abs_rel: float
    delta1: float
    rmse: float
    pixels: int


def depth_errors(truth: NDArray[Any], found: NDArray[Any], kind: DepthKind) -> DepthErrors | None:
    """The errors over the pixels where the truth is finite, and above 0 if it is a depth; None for too few.

    A value that is not finite where the truth is counts as far off.

    Args:
        truth: (H, W).
        found: of the same shape and unit.
        kind: unit of both.
    """
    known = np.isfinite(truth)
    if kind != "inverse":
        known &= truth > 0
    if int(known.sum()) < FEWEST_PIXELS:
        return None
    expected, got = truth[known].astype(np.float64), found[known].astype(np.float64)
    got = np.where(np.isfinite(got), got, 0.0)
    least = 1e-6 if kind == "metric" else max(_LEAST_SHARE * float(np.abs(expected).mean()), 1e-12)
    below, above = np.maximum(expected, least), np.maximum(got, least)
    difference = np.abs(got - expected)
    return DepthErrors(
        abs_rel=float((difference / below).mean()),
        delta1=float((np.maximum(below, above) < DELTA * np.minimum(below, above)).mean()),
        rmse=float(np.sqrt((difference**2).mean())),
        pixels=int(known.sum()),
    )


def errors_in_meters(truth: NDArray[np.float32], found: FoundDepth) -> tuple[float, float, float] | None:
    """AbsRel, delta1 and root mean square in meters against a measured depth; None if it has too few pixels.

    Depth without a unit is brought to meters first, per image: relative depth by the ratio of the medians, inverse
    depth by the line that fits 1 / truth best (least squares), as MiDaS and Depth Anything are evaluated.

    Args:
        truth: (H, W) meters; 0 or NaN where nothing was measured.
        found: of the same size.
    """
    errors = depth_errors(truth, _in_meters(truth, found), "metric")
    return None if errors is None else (errors.abs_rel, errors.delta1, errors.rmse)


def _in_meters(truth: NDArray[np.float32], found: FoundDepth) -> NDArray[np.float64]:
    values = found.values.astype(np.float64)
    known = np.isfinite(truth) & (truth > 0) & np.isfinite(values)
    if found.kind == "metric" or int(known.sum()) < FEWEST_PIXELS:
        return values
    expected, got = truth[known].astype(np.float64), values[known]
    if found.kind == "relative":
        return values * float(np.median(expected)) / max(float(np.median(got)), 1e-12)
    spread = float(((got - got.mean()) ** 2).mean())
    inverse = 1 / expected
    gain = float(((got - got.mean()) * (inverse - inverse.mean())).mean()) / spread if spread > 0 else 0.0
    line = gain * (values - got.mean()) + inverse.mean()
    meters: NDArray[np.float64] = 1 / np.maximum(line, 1 / float(expected.max()))
    return meters
