"""Proposals after the known-good settings: a sampler's, and every second time a neighbor of the front.

A sampler cannot learn six hyperparameters from two dozen trials; one step from the best settings so far is worth as
much.  Settings are few and discrete, so a sampler soon repeats proposals.  It therefore works on a copy of the study in
memory, where a rejected proposal costs nothing and leaves no trace.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.hyperparameters import SearchSpace, from_hyperparameters, to_hyperparameters
from rkdeploy.host.building.quantization import QuantizationSettings

if TYPE_CHECKING:
    import optuna

_ATTEMPTS: Final = 24
_STARTUP_TRIALS: Final = 8


def distributions_of(space: SearchSpace) -> dict[str, optuna.distributions.BaseDistribution]:
    """The hyperparameters in Optuna's form."""
    import optuna

    return {
        name: optuna.distributions.CategoricalDistribution(choices) for name, choices in space.hyperparameters().items()
    }


def proposals(
    space: SearchSpace, finished: Sequence[FinishedTrial], under_way: Collection[QuantizationSettings], seed: int
) -> Iterator[QuantizationSettings]:
    """Settings in the order in which they should be tried, those that were tried among them.

    Args:
        space: what is searched.
        finished: trials that ended.
        under_way: what is being tried.
        seed: of chance; the same gives the same.
    """
    chance = random.Random(seed)  # noqa: S311 - a choice of trials, no secret
    near = list(dict.fromkeys(other for one in _front(finished) for other in _neighbors(one, space)))
    chance.shuffle(near)
    if (len(finished) + len(under_way)) % 2:
        yield from near
    yield from _sampled(space, finished, under_way, seed)
    yield from near
    everything = list(space.everything())
    chance.shuffle(everything)
    yield from everything


def _sampled(
    space: SearchSpace, finished: Sequence[FinishedTrial], under_way: Collection[QuantizationSettings], seed: int
) -> Iterator[QuantizationSettings]:
    """Proposals of Optuna's tree-structured Parzen estimator."""
    import optuna

    distributions = distributions_of(space)
    sampler = optuna.samplers.TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=seed, constant_liar=True)
    study = optuna.create_study(directions=("minimize", "minimize"), sampler=sampler)
    for one in finished:
        if one.result is not None and one.drop is not None:
            values = (one.drop, one.result.cost.value)
            study.add_trial(
                optuna.trial.create_trial(
                    values=values, params=dict(to_hyperparameters(one.settings)), distributions=distributions
                )
            )
    running = optuna.trial.TrialState.RUNNING
    for settings in under_way:
        study.add_trial(
            optuna.trial.create_trial(
                state=running, params=dict(to_hyperparameters(settings)), distributions=distributions
            )
        )
    for _ in range(_ATTEMPTS):
        trial = study.ask(distributions)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        yield from_hyperparameters(trial.params, space)


def _front(finished: Sequence[FinishedTrial]) -> list[QuantizationSettings]:
    """The settings that no others beat in both figures."""
    known = [(one.drop, one.result.cost.value, one.settings) for one in finished if one.result and one.drop is not None]
    return [
        settings
        for drop, cost, settings in known
        if not any((d <= drop and c <= cost) and (d < drop or c < cost) for d, c, _ in known)
    ]


def _neighbors(one: QuantizationSettings, space: SearchSpace) -> Iterator[QuantizationSettings]:
    """Settings that differ in one hyperparameter."""
    yield from (replace(one, algorithm=choice) for choice in space.algorithms)
    yield from (replace(one, method=choice) for choice in space.methods)
    yield from (replace(one, calib_count=choice) for choice in space.calib_counts)
    yield from (replace(one, seed=choice) for choice in space.seeds)
    yield from (replace(one, cut=choice) for choice in space.cuts)
    yield from (replace(one, float16=choice) for choice in space.float16)
