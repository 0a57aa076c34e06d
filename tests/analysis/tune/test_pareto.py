"""The front, the recommendation and the noise, each by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.analysis.tune.cost import Cost
from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.pareto import largest_drop, outcome_of
from rkdeploy.host.building.quantization import QuantizationSettings
from rkdeploy.host.toolkit.float16 import Float16Choice
from tests.analysis.tune.stand_in_trials import SPACE, result_of

DEFAULT = SPACE.default()


def trial(number: int, drop: float, cost: float, settings: QuantizationSettings, refused: str = "") -> FinishedTrial:
    result = replace(result_of(settings), cost=Cost(cost, "ms", 1.5), refused=refused)
    return FinishedTrial(number, settings, result, "", drop)


def other(worst: int, seed: int = 0) -> QuantizationSettings:
    return replace(DEFAULT, float16=Float16Choice(worst=worst), seed=seed)


TRIALS = (
    trial(1, 0.010, 4.0, DEFAULT),
    trial(2, 0.012, 4.0, replace(DEFAULT, seed=1)),
    trial(3, 0.006, 4.2, other(1)),
    trial(4, 0.007, 4.3, other(2)),  # beaten by 3 in both
    trial(5, 0.001, 5.0, other(4)),  # too slow for a limit of 1.1
    trial(6, 0.000, 4.1, other(8), refused="it says so"),  # the best, but no build
    FinishedTrial(7, replace(DEFAULT, algorithm="mmse"), None, "failed", None),
)


def test_the_front() -> None:
    """No point of the front is beaten in both; refused and failed trials are not part of it."""
    outcome = outcome_of(TRIALS, DEFAULT, 1.1)
    assert [one.trial.number for one in outcome.front] == [1, 3, 5]
    assert [one.cost_share for one in outcome.front] == pytest.approx([1.0, 1.05, 1.25])
    assert [one.number for one in outcome.failed] == [6, 7]
    assert outcome.default is not None
    assert outcome.default.trial.number == 1


def test_costs_that_are_nearly_the_same() -> None:
    """A less accurate trial is not on the front for a cost that is lower by less than a thousandth; by more it is."""
    for cost, numbers in ((3.999, [1]), (3.98, [8, 1])):
        trials = (TRIALS[0], trial(8, 0.02, cost, replace(DEFAULT, method="layer")))
        assert [one.trial.number for one in outcome_of(trials, DEFAULT, 1.1).front] == numbers


@pytest.mark.parametrize(("limit", "number"), [(1.0, 1), (1.05, 3), (1.1, 3), (1.25, 5), (0.9, None)])
def test_the_recommendation_keeps_the_limit(limit: float, number: int | None) -> None:
    """The most accurate whose cost is within the limit; none where nothing is."""
    recommended = outcome_of(TRIALS, DEFAULT, limit).recommended
    assert (recommended.trial.number if recommended else None) == number


def test_costs_without_a_default() -> None:
    """If the default failed, the cheapest trial takes its place."""
    outcome = outcome_of(TRIALS[2:], DEFAULT, 1.1)
    assert outcome.default is None
    assert outcome.front[0].cost_share == 1.0


def test_noise_is_between_draws_alone() -> None:
    """Trials 1 and 2 differ by the calibration sample only; others differ by more and do not measure the noise."""
    assert outcome_of(TRIALS, DEFAULT, 1.1).noise == pytest.approx(0.002)
    assert outcome_of(TRIALS[2:], DEFAULT, 1.1).noise is None


def test_the_worse_of_two_figures_counts() -> None:
    """Boxes fell by 0.01, keypoints by 0.03 and masks rose: the drop is 0.03.  A figure that vanished fell wholly."""
    reference = {"boxes": 0.8, "keypoints": 0.9, "masks": 0.5}
    assert largest_drop(reference, {"boxes": 0.79, "keypoints": 0.87, "masks": 0.6}) == pytest.approx(0.03)
    assert largest_drop(reference, {"boxes": 0.79, "keypoints": 0.87}) == pytest.approx(0.5)


def test_nothing_was_tried() -> None:
    """No trial gives no front and no recommendation."""
    outcome = outcome_of((), DEFAULT, 1.1)
    assert (outcome.front, outcome.recommended, outcome.failed, outcome.noise) == ((), None, (), None)
