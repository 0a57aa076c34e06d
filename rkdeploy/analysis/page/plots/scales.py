"""Axes: from values to coordinates, with ticks at round numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10

_TINY, _HUGE = 1e-30, 1e30  # what is beyond comes out of a damaged file


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic axis.

    Attributes:
        low, high: values at its ends; both above 0 where logarithmic.
        start, end: coordinates of its ends.
        logarithmic: whether equal steps are equal factors.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value, held inside the axis."""
        if self.logarithmic:
            share = (log10(max(value, 1e-300)) - log10(self.low)) / max(log10(self.high) - log10(self.low), 1e-12)
        else:
            share = (value - self.low) / max(self.high - self.low, 1e-12)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values from end to end: powers of ten, or steps of 1, 2 or 5 times one."""
        if self.logarithmic:
            first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        step = _step((self.high - self.low) / max(most, 1))
        first = ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, floor(self.high / step + 1e-9) + 1)]


def linear(values: list[float], start: float, end: float) -> Scale:
    """An axis from 0 to a round number above the largest value."""
    high = max([v for v in values if _TINY < v < _HUGE], default=1.0)
    step = _step(high / 5)
    return Scale(0.0, ceil(high / step - 1e-9) * step, start, end)


def logarithmic(values: list[float], start: float, end: float) -> Scale:
    """An axis over whole powers of ten around the values that are above 0."""
    positive = [v for v in values if _TINY < v < _HUGE] or [1.0]
    low, high = floor(log10(min(positive)) + 1e-9), ceil(log10(max(positive)) - 1e-9)
    return Scale(10.0**low, 10.0 ** max(high, low + 1), start, end, logarithmic=True)


def _step(raw: float) -> float:
    if raw <= 0:
        return 1.0
    power = 10.0 ** floor(log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def short(value: float) -> str:
    """A tick's number: at most four digits, thousands as k, M, G, T."""
    if value == 0:
        return "0"
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g}{unit}"
    return f"{value:.4g}"
