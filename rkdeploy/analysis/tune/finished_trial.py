"""A trial that ended, as the study keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.host.building.quantization import QuantizationSettings


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A trial that ended.

    Attributes:
        number: counted from 1, in the order in which trials were begun.
        settings: what was tried.
        result: what came of it; None when it failed.
        failure: why it failed; empty when it did not.
        drop: largest drop of a headline figure below the float model's; below 0 if all rose.  None on failure.
    """

    number: int
    settings: QuantizationSettings
    result: TrialResult | None
    failure: str
    drop: float | None
