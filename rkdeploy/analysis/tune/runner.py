"""Trial runner: the interface of a pool of processes and of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from rkdeploy.analysis.tune.trial import TrialJob
from rkdeploy.analysis.tune.trial_result import TrialResult

TrialFunction = Callable[[TrialJob, Path, Path], TrialResult]
"""`run_trial`, or what stands for it in a test: a job, the folder with its input sets, an empty folder."""

MAX_LOSSES = 2
"""A trial whose process was killed is begun again so often; then it counts as failed."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """Outcome of a job.

    Attributes:
        number: of the job.
        result: None when it failed.
        failure: reason; empty when it did not fail.
    """

    number: int
    result: TrialResult | None
    failure: str = ""


class LostTrials:
    """Trials whose process was lost, and how often."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}

    def given_up(self, number: int, how: str) -> TrialOutcome | None:
        """The outcome of a trial that was lost once too often; None where it is started again.

        Args:
            number: of the trial.
            how: how it was lost this time, in words.
        """
        self._times[number] = self._times.get(number, 0) + 1
        if self._times[number] <= MAX_LOSSES:
            return None
        why = f"The trial's process was {how}, {MAX_LOSSES + 1} times. Often memory is short: use fewer --workers."
        return TrialOutcome(number, None, why)


class TrialRunner(Protocol):
    """Runs several trials side by side.  A context manager: on leaving, what still runs is ended."""

    @property
    def workers(self) -> int:
        """Number of trials that run side by side now."""
        ...

    def submit(self, job: TrialJob) -> None:
        """Begin a trial, or let it wait.

        Raises:
            RkdeployError: when it cannot be begun at all.
        """
        ...

    def wait(self) -> TrialOutcome:
        """The next outcome, in the order in which trials end.

        Raises:
            RkdeployError: when no trial can end any more.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
