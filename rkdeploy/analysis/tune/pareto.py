"""Pareto front of the trials, and the recommended one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.host.building.quantization import QuantizationSettings

_SAME_COST: Final = 1.001
"""A predicted cost that differs by less is the same."""


@dataclass(frozen=True, slots=True)
class UsableTrial:
    """A trial that gave a usable model.

    Attributes:
        trial: the trial.
        result: result of that trial.
        drop: the largest drop of a headline figure below the float model's.
        cost_share: its cost over the default's.
    """

    trial: FinishedTrial
    result: TrialResult
    drop: float
    cost_share: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a search.

    Attributes:
        front: the trials that no other beats in both, the cheapest first.
        default: the trial with the default settings; None if it failed.
        recommended: the most accurate one whose cost is allowed; None if no trial is usable.
        failed: the trials without a usable model.
        noise: largest difference of the drops of the same settings with other calibration samples; None if no settings
            were tried with two samples.
    """

    front: tuple[UsableTrial, ...]
    default: UsableTrial | None
    recommended: UsableTrial | None
    failed: tuple[FinishedTrial, ...]
    noise: float | None


def largest_drop(reference: Mapping[str, float], figures: Mapping[str, float]) -> float:
    """Largest drop of a headline figure below the float model's.

    `rkdeploy build --max-drop` limits the same figure: a model with boxes and keypoints is as good as the worse of
    them.
    """
    return max(value - figures.get(name, 0.0) for name, value in reference.items())


def outcome_of(trials: Sequence[FinishedTrial], default: QuantizationSettings, max_cost: float) -> Outcome:
    """Judge the trials.

    Args:
        trials: finished.
        default: the settings that costs are compared with; where they failed, the cheapest trial is.
        max_cost: cost that is allowed, over the default's.
    """
    usable = [
        UsableTrial(trial, trial.result, trial.drop, 0.0)
        for trial in trials
        if trial.result is not None and trial.drop is not None and not trial.result.refused
    ]
    of_default = next((one for one in usable if one.trial.settings == default), None)
    unit = of_default.result.cost.value if of_default else min((c.result.cost.value for c in usable), default=1.0)
    candidates = [replace(one, cost_share=one.result.cost.value / unit) for one in usable]
    allowed = [one for one in candidates if one.cost_share <= max_cost + 1e-9]
    return Outcome(
        front=_front(candidates),
        default=next((one for one in candidates if one.trial.settings == default), None),
        recommended=min(allowed, key=_order, default=None),
        failed=tuple(trial for trial in trials if trial.result is None or trial.result.refused),
        noise=_noise(candidates),
    )


def _order(one: UsableTrial) -> tuple[float, float, int]:
    return one.drop, one.result.cost.value, one.trial.number


def _front(candidates: Sequence[UsableTrial]) -> tuple[UsableTrial, ...]:
    """The Pareto front: trials such that no other is more accurate and, but for a thousandth, costs no more."""
    front: list[UsableTrial] = []
    for one in sorted(candidates, key=_order):
        if not any(other.result.cost.value <= one.result.cost.value * _SAME_COST for other in front):
            front.append(one)
    return tuple(reversed(front))


def _noise(candidates: Sequence[UsableTrial]) -> float | None:
    by_sample: dict[QuantizationSettings, list[float]] = defaultdict(list)
    for one in candidates:
        by_sample[replace(one.trial.settings, seed=0)].append(one.drop)
    spreads = [max(drops) - min(drops) for drops in by_sample.values() if len(drops) > 1]
    return max(spreads, default=None)
