"""Who runs trials: the one thing that a pool of processes and a cluster have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from rkdeploy.analysis.tune.trial import TrialJob, TrialResult

TrialFunction = Callable[[TrialJob, Path, Path], TrialResult]
"""`run_trial`, or what stands for it in a test: a job, the folder with its parcels, an empty folder."""

MAX_LOSSES = 2
"""A trial whose process was killed is begun again so often; then it counts as failed."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What came of a job.

    Attributes:
        number: of the job.
        result: None when it failed.
        failure: why; empty when it did not.
    """

    number: int
    result: TrialResult | None
    failure: str = ""


def lost_often(how: str) -> str:
    """Why a trial is given up whose process came to such an end again and again."""
    return f"The trial's process was {how}, {MAX_LOSSES + 1} times. Often memory is short: use fewer --workers."


class TrialRunner(Protocol):
    """Runs several trials side by side.  A context manager: on leaving, what still runs is ended."""

    @property
    def workers(self) -> int:
        """How many trials run side by side now."""
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
