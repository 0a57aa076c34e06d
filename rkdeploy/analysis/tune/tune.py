"""A search from its options to what it came to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from rkdeploy.analysis.tune.baseline import Baseline
from rkdeploy.analysis.tune.cluster import Cluster
from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.pareto import Outcome, UsableTrial, outcome_of
from rkdeploy.analysis.tune.pool import ProcessPool, default_workers
from rkdeploy.analysis.tune.runner import TrialRunner
from rkdeploy.analysis.tune.search import search
from rkdeploy.analysis.tune.study import open_study
from rkdeploy.analysis.tune.trial_preparation import Preparation
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.analysis.tune.tune_options import TuneOptions
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.gate_options import GateOptions
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.system.workspace import workspace

_DROP_STEP: Final = 0.001


@dataclass(frozen=True, slots=True)
class TuneReport:
    """Result of a search.

    Attributes:
        baseline: the float model's figures.
        trials: all that ended, in their order.
        outcome: the front, the recommendation.
    """

    baseline: Baseline
    trials: tuple[FinishedTrial, ...]
    outcome: Outcome


def tune(options: TuneOptions, events: TuneEvents) -> TuneReport:
    """Search, or resume a search.

    Raises:
        RkdeployError: when it fails.  Finished trials are in the study.
    """
    with workspace() as folder:
        input_sets = InputStore(folder)
        preparation = Preparation(options.build, input_sets, events)
        events.prepared(preparation.baseline, preparation.images)
        events.stage("Starting the toolkit")
        with _runner(options, input_sets) as (runner, toolkit_version):
            fingerprint = {**preparation.fingerprint, "toolkit": toolkit_version}
            with open_study(options.study_file, fingerprint, preparation.space, options.seed) as study:
                threads = max(1, (os.cpu_count() or 1) // runner.workers)
                search(study, preparation, runner, preparation.baseline.figures, options.trials, threads, events)
                trials = study.finished()
    return TuneReport(preparation.baseline, trials, outcome_of(trials, preparation.space.default(), options.max_cost))


def build_options_of(options: TuneOptions, candidate: UsableTrial) -> BuildOptions:
    """The build of a candidate, with a gate that holds it to the drop that it had here."""
    gate = options.build.gate
    assert gate is not None
    allowed = max(GateOptions(gate.data).max_drop, math.ceil(candidate.drop / _DROP_STEP) * _DROP_STEP)
    return candidate.trial.settings.applied_to(
        replace(options.build, remedies=False, gate=replace(gate, max_drop=round(allowed, 3)))
    )


@contextmanager
def _runner(options: TuneOptions, input_sets: InputStore) -> Iterator[tuple[TrialRunner, str]]:
    """The trial runner, and the version of its toolkit."""
    if options.scheduler is not None:
        with Cluster(options.scheduler, input_sets, options.workers) as cluster:
            yield cluster, cluster.toolkit_version()
        return
    with Toolkit(log=input_sets.folder / "toolkit.log", python=options.build.toolkit_python) as toolkit:
        version = toolkit.version
    with ProcessPool(options.workers or default_workers(), input_sets) as pool:
        yield pool, version
