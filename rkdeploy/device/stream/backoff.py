"""Delays before a failed operation is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: `first_s`, then doubled each time, at most `max_s`."""

    first_s: float
    max_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row, 1 or more."""
        return min(self.first_s * 2.0 ** min(failures - 1, 32), self.max_s)
