"""Noise of a figure: differences without a reason."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.device.stream.statistics import Latency

_95_PERCENT = 1.96  # standard errors of a normal distribution
_P90 = 1.2816  # its 90th percentile, in standard deviations
_MEDIAN = 1.2533  # standard error of a median over that of a mean, sqrt(pi / 2)
_KEPT_FRAMES = 1024  # `Latency` keeps the last so many
RUN_TO_RUN = 0.01
"""Share of a measured figure that is taken for noise in any case: two runs differ in heat, placement and clocks."""


def median_noise(a: Latency, b: Latency) -> float:
    """Milliseconds by which two medians may differ: 95 % of the standard error of both, from their spread and number.

    The deviation is (p90 - p50) / 1.28; the standard error of a median is 1.25 times that over the root of the number
    of frames, as of a normal distribution.
    """
    errors = [
        _MEDIAN * max(one.p90_ms - one.p50_ms, 0.0) / _P90 / sqrt(max(min(one.count, _KEPT_FRAMES), 1))
        for one in (a, b)
    ]
    return max(_95_PERCENT * sqrt(sum(e * e for e in errors)), RUN_TO_RUN * max(a.p50_ms, b.p50_ms))


def rate_noise(rate_a: float, rate_b: float, a: Latency, b: Latency, frames: tuple[int, int]) -> float:
    """Frames a second by which two rates may differ: the spread of the frames' times over the root of their number."""
    errors = [
        rate * max(one.p90_ms - one.p50_ms, 0.0) / _P90 / max(one.p50_ms, 1e-9) / sqrt(max(count, 1))
        for rate, one, count in ((rate_a, a, frames[0]), (rate_b, b, frames[1]))
    ]
    return max(_95_PERCENT * sqrt(sum(e * e for e in errors)), RUN_TO_RUN * max(rate_a, rate_b))


def share_noise(a: float, b: float, count_a: int, count_b: int) -> float:
    """Noise of the difference of two shares, each of a number of things: 95 % of the standard error of both.

    A share of n things has the standard error sqrt(p (1 - p) / n), with p moved toward a half as by Agresti and Coull
    (two hits and two misses more), so that 0 and 1 have one as well.
    """
    return _95_PERCENT * sqrt(_variance(a, count_a) + _variance(b, count_b))


def mean_share_noise(a: Sequence[tuple[float, int]], b: Sequence[tuple[float, int]]) -> float:
    """Noise of the difference of two means over classes: (share, number of things) of each class."""
    variances = [sum(_variance(p, n) for p, n in side) / max(len(side), 1) ** 2 for side in (a, b)]
    return _95_PERCENT * sqrt(sum(variances))


def _variance(share: float, count: int) -> float:
    n = max(count, 0) + 4
    p = (min(max(share, 0.0), 1.0) * max(count, 0) + 2) / n
    return p * (1 - p) / n
