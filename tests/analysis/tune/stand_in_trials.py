"""Trials without a toolkit, for the tests of the search: each says on disk that it began and that it ended.

They are called in other processes, which import this file by its name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from rkdeploy.analysis.tune.cost import Cost
from rkdeploy.analysis.tune.hyperparameters import SearchSpace
from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.trial import TrialJob
from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.quantization import QuantizationSettings, float16_word
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.toolkit.float16 import Float16Choice

SPACE = SearchSpace(
    algorithms=("normal", "kl_divergence", "mmse"),
    methods=("channel", "layer"),
    calib_counts=(20, 40),
    seeds=(0, 1, 2),
    cuts=(CutOptions(), CutOptions("none", "none")),
    float16=(None, Float16Choice(worst=1), Float16Choice(worst=2)),
)
REFERENCE = {"mAP50-95 (boxes)": 0.8, "mAP50-95 (keypoints)": 0.9}


def result_of(settings: QuantizationSettings) -> TrialResult:
    """A made-up result that depends on the settings alone: float16 costs time and gains accuracy."""
    worst = settings.float16.worst if settings.float16 is not None else 0
    drop = 0.02 - 0.005 * worst + 0.001 * settings.seed
    drop += {"normal": 0.0, "kl_divergence": 0.05, "mmse": 0.01}[settings.algorithm]
    figures = {"mAP50-95 (boxes)": 0.8 - drop, "mAP50-95 (keypoints)": 0.9}
    return TrialResult(
        figures, Cost(4.0 + 0.3 * worst, "ms", 1.5 + worst), 0.95, "", worst, 1000, "ranges", "2.5.0", 0.1
    )


class StandInJobs:
    """Makes jobs whose trials leave their marks in `marks`, and whose inputs are three small input sets."""

    def __init__(self, marks: Path, input_sets: InputStore) -> None:
        self._options = BuildOptions(Path("best.pt"), out=marks)
        names = []
        for text in ("graph", "sample", "measured"):
            with input_sets.fill() as (folder, named):
                (folder / "content.txt").write_text(text)
            names += named
        self._names = names

    def job(self, number: int, settings: QuantizationSettings, threads: int) -> TrialJob:
        if settings.algorithm == "kl_divergence" and settings.method == "layer":
            raise RkdeployError("this network cannot be cut so")
        graph, sample, measured = self._names
        return TrialJob(number, settings.applied_to(self._options), graph, sample, measured, threads)


def mark(job: TrialJob, what: str) -> None:
    """Leave a mark of a trial."""
    options = job.options
    name = f"{what}_{job.number}_{options.algorithm}-{options.seed}-{float16_word(options.float16)}"
    (options.out / f"{name}_{os.getpid()}_{uuid.uuid4().hex}").touch()


def marks_of(marks: Path, what: str) -> Counter[int]:
    """Number of marks that each trial left."""
    return Counter(int(file.name.split("_")[1]) for file in marks.glob(f"{what}_*"))


def processes_of(marks: Path, what: str, number: int) -> list[int]:
    """The processes in which a trial left such marks."""
    return [int(file.name.split("_")[3]) for file in marks.glob(f"{what}_{number}_*")]


def kept(study: Path) -> set[int]:
    """The numbers of the trials whose result or failure is in the file."""
    question = (
        "SELECT n.value_json FROM trial_user_attributes n JOIN trial_user_attributes r ON n.trial_id = r.trial_id "
        "WHERE n.key = 'trial' AND r.key IN ('result', 'failure')"
    )
    try:
        with contextlib.closing(sqlite3.connect(study)) as connection:
            return {int(text) for (text,) in connection.execute(question)}
    except sqlite3.OperationalError:  # not made yet
        return set()


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.05)


def settings_of(job: TrialJob) -> QuantizationSettings:
    """Settings that a job tries."""
    o = job.options
    return QuantizationSettings(**{one.name: getattr(o, one.name) for one in fields(QuantizationSettings)})


def quick(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """A trial that reads its inputs, writes into its folder, and succeeds; algorithm kl_divergence fails."""
    mark(job, "began")
    (folder / "scratch").write_text("left over")
    for name, text in zip(job.input_sets, ("graph", "sample", "measured"), strict=True):
        assert (input_sets / name / "content.txt").read_text() == text
    if job.options.algorithm == "kl_divergence":
        raise RkdeployError("the toolkit refuses this", "a hint")
    mark(job, "ended")
    return result_of(settings_of(job))


def patient(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """Trial 3 waits until there is a file `go`, and leaves a mark when it is ended before; all others are quick."""
    deadline = time.monotonic() + 60
    try:
        mark(job, "waits")
        while job.number == 3 and not (job.options.out / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    except SystemExit:
        mark(job, "unwound")
        raise
    return quick(job, input_sets, folder)


def killed_once(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """Trials 2 and 4 are killed the first time, one at once, the other so that it unwinds."""
    mark(job, "tried")
    if job.number in {2, 4} and marks_of(job.options.out, "tried")[job.number] == 1:
        os.kill(os.getpid(), signal.SIGKILL if job.number == 2 else signal.SIGTERM)
    return quick(job, input_sets, folder)


def always_killed(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """Trial 2 is killed whenever it is tried."""
    mark(job, "tried")
    if job.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(job, input_sets, folder)


def ends_itself(job: TrialJob, input_sets: Path, folder: Path) -> TrialResult:
    """Trial 2 ends its process without a word."""
    mark(job, "tried")
    if job.number == 2:
        os._exit(3)
    return quick(job, input_sets, folder)
