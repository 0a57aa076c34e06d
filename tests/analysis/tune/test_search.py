"""Searches with real processes and a real study: what is lost, what is tried again, what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.pool import ProcessPool
from rkdeploy.analysis.tune.runner import MAX_LOSSES, TrialFunction
from rkdeploy.analysis.tune.search import search
from rkdeploy.analysis.tune.study import open_study
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.system.workspace import workspace
from tests.analysis.tune.stand_in_trials import (
    REFERENCE,
    SPACE,
    StandInJobs,
    always_killed,
    ends_itself,
    kept,
    killed_once,
    marks_of,
    patient,
    processes_of,
    quick,
    result_of,
    until,
)

FINGERPRINT = {"model": "m"}
WANTED = 6


class Lines(TuneEvents):
    """Events that record their messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def searching(self, finished: int, wanted: int, workers: int) -> None:
        self.lines.append(f"{finished} of {wanted} with {workers}")

    def finished(self, trial: FinishedTrial, done: int, wanted: int) -> None:
        self.lines.append(f"{done}/{wanted}")


def run(tmp_path: Path, function: TrialFunction, wanted: int = WANTED) -> tuple[tuple[FinishedTrial, ...], Lines]:
    """A search with two processes, whose folder for temporary files is `tmp_path / "temporary"`."""
    marks, temporary, events = tmp_path / "marks", tmp_path / "temporary", Lines()
    for folder in (marks, temporary):
        folder.mkdir(exist_ok=True)
    with workspace(temporary) as folder:
        input_sets = InputStore(folder)
        jobs = StandInJobs(marks, input_sets)
        with (
            ProcessPool(2, input_sets, function) as pool,
            open_study(tmp_path / "study.db", FINGERPRINT, SPACE, 0) as study,
        ):
            search(study, jobs, pool, REFERENCE, wanted, 1, events)
            trials = study.finished()
    assert list(temporary.iterdir()) == []
    return trials, events


def test_a_search_in_two_processes(tmp_path: Path) -> None:
    """Every trial runs once, in a process of its own, and its result and drop are kept; a failed one has its reason."""
    trials, events = run(tmp_path, quick)
    assert [t.number for t in trials] == list(range(1, WANTED + 1))
    assert [t.settings for t in trials] == list(SPACE.known_good()[:WANTED])
    for trial in trials:
        if trial.settings.algorithm == "kl_divergence":
            assert (trial.result, trial.failure, trial.drop) == (None, "the toolkit refuses this", None)
        else:
            assert trial.result == result_of(trial.settings)
            assert trial.drop == pytest.approx(0.8 - trial.result.figures["mAP50-95 (boxes)"])
    began = marks_of(tmp_path / "marks", "began")
    assert began == dict.fromkeys(range(1, WANTED + 1), 1)
    processes = {pid for number in began for pid in processes_of(tmp_path / "marks", "began", number)}
    assert len(processes) == WANTED
    assert os.getpid() not in processes
    assert events.lines == [f"0 of {WANTED} with 2", *(f"{n}/{WANTED}" for n in range(1, WANTED + 1))]


def test_settings_that_cannot_be_prepared_are_a_failed_trial(tmp_path: Path) -> None:
    """A job that cannot be made fails its trial with the reason, and the search goes on to the end of all settings."""
    space = replace(SPACE, algorithms=("normal", "kl_divergence"), calib_counts=(20,), seeds=(0,), float16=(None,))
    space = replace(space, cuts=SPACE.cuts[:1])
    marks = tmp_path / "marks"
    marks.mkdir()
    with workspace(tmp_path) as folder:
        input_sets = InputStore(folder)
        with ProcessPool(2, input_sets, quick) as pool, open_study(tmp_path / "s.db", FINGERPRINT, space, 0) as study:
            search(study, StandInJobs(marks, input_sets), pool, REFERENCE, 99, 1, TuneEvents())
            failures = {(t.settings.algorithm, t.settings.method): t.failure for t in study.finished()}
    assert failures == {
        ("normal", "channel"): "",
        ("normal", "layer"): "",
        ("kl_divergence", "channel"): "the toolkit refuses this",
        ("kl_divergence", "layer"): "this network cannot be cut so",
    }


def test_a_killed_trial_is_tried_again(tmp_path: Path) -> None:
    """SIGKILL or SIGTERM in the middle of two: they are tried once more and count once; no other is run twice."""
    trials, _ = run(tmp_path, killed_once)
    assert [t.number for t in trials] == list(range(1, WANTED + 1))
    assert all(trials[n - 1].result == result_of(trials[n - 1].settings) for n in (2, 4))
    assert marks_of(tmp_path / "marks", "tried") == {n: 1 + (n in {2, 4}) for n in range(1, WANTED + 1)}


def test_a_trial_that_is_always_killed_fails(tmp_path: Path) -> None:
    """After some attempts it has failed, with a word about memory; all others finish."""
    trials, _ = run(tmp_path, always_killed)
    assert trials[1].result is None
    assert "killed by signal 9, 3 times" in trials[1].failure
    assert all(t.result is not None for t in trials if t.number != 2 and t.settings.algorithm != "kl_divergence")
    assert marks_of(tmp_path / "marks", "tried")[2] == 1 + MAX_LOSSES


def test_a_process_that_ends_itself_is_not_tried_again(tmp_path: Path) -> None:
    """A failure with an exit code is not repeated: once is enough."""
    trials, _ = run(tmp_path, ends_itself)
    assert trials[1].failure == "The trial's process ended with exit code 3."
    assert marks_of(tmp_path / "marks", "tried")[2] == 1


SCRIPT = """
import sys
from pathlib import Path
from tests.analysis.tune import stand_in_trials, test_search
if __name__ == "__main__":
    test_search.run(Path(sys.argv[1]), stand_in_trials.patient)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_is_ended_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    """Killed or interrupted while trial 3 runs: nothing finished is run again, and all processes and files are gone."""
    marks = tmp_path / "marks"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[3]), *sys.path))}
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as one:
        until(lambda: len(kept(tmp_path / "study.db")) >= 5 and processes_of(marks, "waits", 3) != [])
        (waiting,) = processes_of(marks, "waits", 3)
        one.send_signal(how)
        one.wait(120)
    until(lambda: not alive(waiting))
    until(lambda: list((tmp_path / "temporary").iterdir()) == [])
    assert marks_of(marks, "unwound") == {3: 1}, "its toolkit is ended by it, not left to itself"
    before = kept(tmp_path / "study.db")
    assert 3 not in before
    (marks / "go").touch()
    trials, events = run(tmp_path, patient)
    assert events.lines[0] == f"{len(before)} of {WANTED} with 2"
    assert sorted(t.number for t in trials) == list(range(1, WANTED + 1))
    began, ended = marks_of(marks, "began"), marks_of(marks, "ended")
    assert all(began[number] == 1 for number in before)
    assert ended[3] == 1
    assert {t.settings for t in trials if t.number == 3} == {SPACE.known_good()[2]}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
