"""Trials on a real Dask cluster on loopback: one scheduler, two workers, one of them killed in the middle."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from rkdeploy.analysis.tune import input_store as input_sets_module
from rkdeploy.analysis.tune.cluster import Cluster
from rkdeploy.analysis.tune.input_store import InputStore
from rkdeploy.analysis.tune.search import search
from rkdeploy.analysis.tune.study import open_study
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.errors import RkdeployError
from tests.analysis.tune.stand_in_trials import (
    REFERENCE,
    SPACE,
    StandInJobs,
    kept,
    marks_of,
    patient,
    processes_of,
    quick,
    result_of,
    until,
)

pytestmark = pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed")

ADDRESS = re.compile(r"(tcp://127\.0\.0\.1:\d+)")
WANTED = 8


@dataclass
class Loopback:
    """A scheduler and its workers, each a process that this test started."""

    address: str
    workers: list[subprocess.Popen[str]]
    folders: Path


@contextmanager
def process(*arguments: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as one:
        try:
            yield one
        finally:
            with contextlib.suppress(ProcessLookupError):
                one.terminate()
            try:
                one.wait(10)
            except subprocess.TimeoutExpired:
                one.kill()


def said(one: subprocess.Popen[str], pattern: re.Pattern[str]) -> str:
    """The line that a process prints when it is ready; the rest is read and dropped."""
    assert one.stderr is not None
    found = next((match for line in one.stderr if (match := pattern.search(line))), None)
    assert found is not None, "it ended without the words that were waited for"
    threading.Thread(target=one.stderr.read, daemon=True).start()
    return found[0]


@contextmanager
def loopback(tmp_path: Path, workers: int = 2) -> Iterator[Loopback]:
    """The cluster.  Workers have no nanny, so that one that is killed stays dead."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[3]), *sys.path))}
    folders = tmp_path / "workers"
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(
            process("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", environment=environment)
        )
        address = said(scheduler, ADDRESS)
        started = []
        for index in range(workers):
            own = folders / str(index)
            own.mkdir(parents=True)
            options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(own))
            worker = stack.enter_context(process("dask_worker", address, *options, environment=environment))
            said(worker, re.compile(r"Registered to"))
            started.append(worker)
        yield Loopback(address, started, folders)


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "marks").mkdir()
    return InputStore(tmp_path / "inputs")


def test_a_worker_killed_in_the_middle_loses_no_finished_trial(tmp_path: Path, store: InputStore) -> None:
    """All trials finish on the worker that is left; none that was finished is run again.

    Trial 3 waits on one worker until that worker is dead: it is the only one that is begun twice.
    """
    marks = tmp_path / "marks"
    with loopback(tmp_path) as cluster, open_study(tmp_path / "study.db", {"model": "m"}, SPACE, 0) as study:

        def kill() -> None:
            until(lambda: len(kept(tmp_path / "study.db")) >= 3 and processes_of(marks, "waits", 3) != [])
            (pid,) = processes_of(marks, "waits", 3)
            os.kill(pid, signal.SIGKILL)
            (marks / "go").touch()

        killer = threading.Thread(target=kill)
        killer.start()
        jobs = StandInJobs(marks, store)
        with Cluster(cluster.address, store, function=patient) as runner:
            assert runner.workers == 2
            search(study, jobs, runner, REFERENCE, WANTED, 1, TuneEvents())
        killer.join()
        trials = study.finished()
        dead = [one for one in cluster.workers if one.poll() is not None]
        assert len(dead) == 1
        assert dead[0].returncode == -signal.SIGKILL
    assert [t.number for t in trials] == list(range(1, WANTED + 1))
    assert all(t.result == result_of(t.settings) for t in trials if t.settings.algorithm != "kl_divergence")
    assert marks_of(marks, "waits") == {n: 1 + (n == 3) for n in range(1, WANTED + 1)}
    used = {pid for number in range(1, WANTED + 1) for pid in processes_of(marks, "waits", number)}
    assert used == {one.pid for one in cluster.workers}


def test_inputs_are_unpacked_once_and_scratch_goes(tmp_path: Path, store: InputStore) -> None:
    """A worker has each input set once, whatever number of trials it ran, and nothing of a trial's own folder."""
    with loopback(tmp_path, workers=1) as cluster:
        with open_study(tmp_path / "study.db", {"model": "m"}, SPACE, 0) as study:
            jobs = StandInJobs(tmp_path / "marks", store)
            with Cluster(cluster.address, store, most=1, function=quick) as runner:
                search(study, jobs, runner, REFERENCE, 4, 1, TuneEvents())
        (own,) = cluster.folders.glob("0/**/rkdeploy-tune")
        assert sorted(p.name for p in own.iterdir()) == ["inputs"]
        assert {p.name for p in (own / "inputs").iterdir()} == {p.name for p in store.folder.iterdir()}
    assert not list(cluster.folders.glob("0/**/rkdeploy-tune"))


def test_nobody_answers(store: InputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address without a scheduler, and one that is none, are one message each."""
    monkeypatch.setattr("rkdeploy.analysis.tune.cluster._CONNECT_S", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense://x", ""):
        with pytest.raises(RkdeployError, match="No Dask scheduler answers"), Cluster(address, store):
            pass


def test_a_scheduler_without_workers(tmp_path: Path, store: InputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, with what to start."""
    monkeypatch.setattr("rkdeploy.analysis.tune.cluster._CONNECT_S", 2)
    with (
        loopback(tmp_path, workers=0) as cluster,
        pytest.raises(RkdeployError, match="has no worker") as caught,
        Cluster(cluster.address, store),
    ):
        pass
    assert "dask worker" in caught.value.hint


def test_another_version_on_a_worker(tmp_path: Path, store: InputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before the first trial, naming both versions."""
    monkeypatch.setattr("rkdeploy.analysis.tune.cluster.__version__", "99.0")
    with (
        loopback(tmp_path, workers=1) as cluster,
        pytest.raises(RkdeployError, match=r"has rkdeploy .*, this is 99\.0"),
        Cluster(cluster.address, store),
    ):
        pass


def test_inputs_too_large_to_send(tmp_path: Path, store: InputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused with their size, and what to do."""
    monkeypatch.setattr(input_sets_module, "MAX_PARCEL_BYTES", 4)
    job = StandInJobs(tmp_path / "marks", store).job(1, SPACE.default(), 1)
    with loopback(tmp_path, workers=1) as cluster, Cluster(cluster.address, store, function=quick) as runner:
        with pytest.raises(RkdeployError, match="expected at most 0 MiB to send") as caught:
            runner.submit(job)
        assert "--count" in caught.value.hint


def test_all_workers_are_gone(tmp_path: Path, store: InputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that stays without workers ends the search with a message; the trial under way is tried again later."""
    monkeypatch.setattr("rkdeploy.analysis.tune.cluster._POLL_S", 0.2)
    monkeypatch.setattr("rkdeploy.analysis.tune.cluster._WITHOUT_WORKERS_S", 1.0)
    marks = tmp_path / "marks"
    with loopback(tmp_path, workers=1) as cluster, open_study(tmp_path / "study.db", {"m": "m"}, SPACE, 0) as study:

        def kill() -> None:
            until(lambda: processes_of(marks, "waits", 3) != [])
            cluster.workers[0].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        jobs = StandInJobs(marks, store)
        with (
            Cluster(cluster.address, store, function=patient) as runner,
            pytest.raises(RkdeployError, match="has had no worker for 1 s"),
        ):
            search(study, jobs, runner, REFERENCE, WANTED, 1, TuneEvents())
        killer.join()
        assert [t.number for t in study.finished()] == [1, 2]
        asked = study.ask()
        assert asked is not None
        assert asked.number == 3
