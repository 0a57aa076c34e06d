"""Gain of two trials at a time over one after the other, both in one run on the sample (docs/tune.md).

    python -m tests.benchmarks.bench_tune [--trials 12] [--images 20] [--workers 2] [--order parallel-first]

Both searches try the same settings, with the vendor's toolkit, into studies of their own.  Wall times; run it on an
idle machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.tune import TuneReport, tune
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.analysis.tune.tune_options import TuneOptions
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.gate_options import GateOptions

SAMPLE = Path(__file__).parents[2] / "calib_data"


class Clock(TuneEvents):
    """Start and duration of the trials."""

    def __init__(self) -> None:
        self.begun_s = 0.0
        self.trial_s: list[float] = []

    def searching(self, finished: int, wanted: int, workers: int) -> None:
        self.begun_s = time.perf_counter()

    def finished(self, trial: FinishedTrial, done: int, wanted: int) -> None:
        self.trial_s.append(trial.result.seconds if trial.result else 0.0)


def measured(trials: int, images: int, workers: int, scratch: Path) -> tuple[float, Clock, TuneReport]:
    """Wall time of the trials of one search in seconds, its clock and its report."""
    gate = GateOptions(SAMPLE / "data.yaml", limit=images)
    build = BuildOptions(SAMPLE / "best.pt", calib=SAMPLE, gate=gate)
    clock = Clock()
    study = scratch / f"workers-{workers}.db"
    report = tune(TuneOptions(build, study=study, trials=trials, workers=workers), clock)
    return time.perf_counter() - clock.begun_s, clock, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--order", choices=("sequential-first", "parallel-first"), default="sequential-first")
    arguments = parser.parse_args()
    order = (1, arguments.workers) if arguments.order == "sequential-first" else (arguments.workers, 1)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for workers in order:
            found[workers] = measured(arguments.trials, arguments.images, workers, Path(scratch))
            wall_s, clock, _ = found[workers]
            mean_s = sum(clock.trial_s) / len(clock.trial_s)
            print(
                f"{workers} at a time: {wall_s:.1f} s for {len(clock.trial_s)} trials, {mean_s:.1f} s each (mean); "
                f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    (alone_s, _, one), (together_s, _, many) = found[1], found[arguments.workers]
    figures = [{t.settings: (t.drop, t.failure) for t in report.trials} for report in (one, many)]
    print(f"{alone_s / together_s:.2f} times as fast; the same figures: {'yes' if figures[0] == figures[1] else 'no'}")


if __name__ == "__main__":
    main()
