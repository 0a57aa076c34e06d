"""A search from its options to what it came to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rkdeploy.analysis.tune.baseline import Baseline
from rkdeploy.analysis.tune.cluster import Cluster
from rkdeploy.analysis.tune.events import TuneEvents
from rkdeploy.analysis.tune.finished import FinishedTrial
from rkdeploy.analysis.tune.parcels import ParcelStore
from rkdeploy.analysis.tune.pareto import Candidate, Outcome, outcome_of
from rkdeploy.analysis.tune.pool import ProcessPool, default_workers
from rkdeploy.analysis.tune.prepare import Preparation
from rkdeploy.analysis.tune.runner import TrialRunner
from rkdeploy.analysis.tune.search import search
from rkdeploy.analysis.tune.study import open_study
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.accuracy_gate import GateOptions
from rkdeploy.host.building.options import BuildOptions
from rkdeploy.host.toolkit.toolkit import Toolkit
from rkdeploy.system.workspace import workspace

_DROP_STEP: Final = 0.001


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """One search.

    Attributes:
        build: what is built; trials replace its settings.  It must have a gate, whose images are measured on.
        study: the file of the study; None takes `NAME-TARGET-tune.db` beside the bundles.
        trials: how many, those of an earlier run of the same study among them.
        workers: trials at a time; None decides by cores and memory, or takes all that a cluster has.
        scheduler: address of a Dask scheduler; None works on this machine.
        max_cost: predicted cost that the recommended one may have, over the default's.
        seed: of the search.
    """

    build: BuildOptions
    study: Path | None = None
    trials: int = 24
    workers: int | None = None
    scheduler: str | None = None
    max_cost: float = 1.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            RkdeployError: naming the option.
        """
        if self.trials < 1 or (self.workers is not None and self.workers < 1):
            raise RkdeployError("--trials and --workers must be 1 or more.")
        if not math.isfinite(self.max_cost) or self.max_cost <= 0:
            raise RkdeployError(f"--max-cost is {self.max_cost}, expected a share such as 1.1.")

    @property
    def study_file(self) -> Path:
        """Where the study is."""
        return self.study or self.build.out / f"{self.build.title}-{self.build.target}-tune.db"


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What a search came to.

    Attributes:
        baseline: float's figures.
        trials: all that ended, in their order.
        outcome: the front, the recommendation.
    """

    baseline: Baseline
    trials: tuple[FinishedTrial, ...]
    outcome: Outcome


def tune(options: TuneOptions, events: TuneEvents) -> TuneReport:
    """Search, or go on with a search.

    Raises:
        RkdeployError: whatever failed.  Finished trials are in the study.
    """
    with workspace() as folder:
        parcels = ParcelStore(folder)
        preparation = Preparation(options.build, parcels, events)
        events.prepared(preparation.baseline, preparation.images)
        events.stage("Starting the toolkit")
        with _runner(options, parcels) as (runner, toolkit_version):
            fingerprint = {**preparation.fingerprint, "toolkit": toolkit_version}
            with open_study(options.study_file, fingerprint, preparation.space, options.seed) as study:
                threads = max(1, (os.cpu_count() or 1) // runner.workers)
                search(study, preparation, runner, preparation.baseline.figures, options.trials, threads, events)
                trials = study.finished()
    return TuneReport(preparation.baseline, trials, outcome_of(trials, preparation.space.default(), options.max_cost))


def build_options_of(options: TuneOptions, candidate: Candidate) -> BuildOptions:
    """The build of a candidate, with a gate that holds it to the drop that it had here."""
    gate = options.build.gate
    assert gate is not None
    allowed = max(GateOptions(gate.data).max_drop, math.ceil(candidate.drop / _DROP_STEP) * _DROP_STEP)
    return candidate.trial.settings.applied_to(replace(options.build, gate=replace(gate, max_drop=round(allowed, 3))))


@contextmanager
def _runner(options: TuneOptions, parcels: ParcelStore) -> Iterator[tuple[TrialRunner, str]]:
    """Who runs the trials, and the toolkit they run with."""
    if options.scheduler is not None:
        with Cluster(options.scheduler, parcels, options.workers) as cluster:
            yield cluster, cluster.toolkit_version()
        return
    with Toolkit(log=parcels.folder / "toolkit.log", python=options.build.toolkit_python) as toolkit:
        version = toolkit.version
    with ProcessPool(options.workers or default_workers(), parcels) as pool:
        yield pool, version
