"""The search: ask the study what to try, give it to a runner, tell the study what came of it."""

from __future__ import annotations

from typing import Protocol

from rkdeploy.analysis.tune.pareto import largest_drop
from rkdeploy.analysis.tune.runner import TrialRunner
from rkdeploy.analysis.tune.study import AskedTrial, TuneStudy
from rkdeploy.analysis.tune.trial import TrialJob
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.quantization import QuantizationSettings


class JobMaker(Protocol):
    """Makes jobs of settings: `Preparation`, or what stands for it in a test."""

    def job(self, number: int, settings: QuantizationSettings, threads: int) -> TrialJob:
        """A trial's job.

        Raises:
            RkdeployError: when the settings are impossible for this model.
        """
        ...


def search(
    study: TuneStudy,
    jobs: JobMaker,
    runner: TrialRunner,
    reference: dict[str, float],
    wanted: int,
    threads: int,
    events: TuneEvents,
) -> None:
    """Run trials until the study has the requested number, or everything was tried.

    However it ends, finished trials are in the study, and unfinished ones are back in its queue.

    Args:
        study: open.
        jobs: makes the jobs.
        runner: entered.
        reference: the float model's headline figures.
        wanted: number of trials, including those of earlier runs.
        threads: for the libraries of a trial.
        events: callbacks.

    Raises:
        RkdeployError: when trials cannot be run any more.
    """
    done = len(study.finished())
    events.searching(done, wanted, runner.workers)
    under_way: dict[int, AskedTrial] = {}
    exhausted = False
    try:
        while True:
            while not exhausted and done + len(under_way) < wanted and len(under_way) < runner.workers:
                asked = study.ask()
                if asked is None:
                    exhausted = True
                    break
                events.started(asked.number, asked.settings.in_words())
                try:
                    job = jobs.job(asked.number, asked.settings, threads)
                except RkdeployError as error:
                    done += 1
                    events.finished(study.tell_failure(asked, error.message), done, wanted)
                    continue
                runner.submit(job)
                under_way[asked.number] = asked
            if not under_way:
                return
            outcome = runner.wait()
            asked = under_way.pop(outcome.number)
            done += 1
            if outcome.result is None:
                finished = study.tell_failure(asked, outcome.failure)
            else:
                finished = study.tell(asked, outcome.result, largest_drop(reference, outcome.result.figures))
            events.finished(finished, done, wanted)
    finally:
        study.put_back()
