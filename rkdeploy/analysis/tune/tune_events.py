"""Callbacks of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.analysis.tune.baseline import Baseline
    from rkdeploy.analysis.tune.finished_trial import FinishedTrial


class TuneEvents:
    """Callbacks of a search; the defaults do nothing.  Override those of interest."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def detail(self, text: str) -> None:
        """Progress within the stage, for example `12/100`."""

    def warning(self, text: str) -> None:
        """A warning for the user."""

    def prepared(self, baseline: Baseline, images: int) -> None:
        """Float was measured."""

    def searching(self, finished: int, wanted: int, workers: int) -> None:
        """Trials begin: so many of those that are wanted were finished by an earlier run."""

    def started(self, number: int, words: str) -> None:
        """A trial was given to a worker."""

    def finished(self, trial: FinishedTrial, done: int, wanted: int) -> None:
        """A trial ended, well or not."""
