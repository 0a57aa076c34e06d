"""Trials on this machine: a process each, a few at a time.

A trial's process has one pipe to this one.  It ends when the pipe does, also when this process is killed, and its
toolkit ends with it.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.analysis.tune.runner import LostTrials, TrialFunction, TrialOutcome
from rkdeploy.analysis.tune.trial import TrialJob, run_trial
from rkdeploy.errors import RkdeployError
from rkdeploy.system.end_signals import take_end_signals
from rkdeploy.system.piped_process import PipedProcess, ProcessEnd

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from rkdeploy.analysis.tune.input_store import InputStore

_LOG = logging.getLogger(__name__)

_STOP_S: Final = 10.0
_UNWIND_S: Final = 5.0
_TRIAL_BYTES: Final = 1200 << 20
"""Largest observed memory of a trial, its toolkit included: 0.9 GiB with YOLOv5n at 384, and a margin."""


def default_workers() -> int:
    """Trials at a time on this machine: a core each, as far as memory allows.

    The toolkit keeps one core busy: on 2 cores two trials at a time take hardly longer than one.
    """
    return max(1, min(len(os.sched_getaffinity(0)), _available_bytes() // _TRIAL_BYTES))


def _available_bytes() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return _TRIAL_BYTES


@dataclass(slots=True)
class _Running:
    job: TrialJob
    process: PipedProcess
    folder: Path


class ProcessPool:
    """See `TrialRunner`.

    Args:
        workers: trials at a time.
        input_sets: the inputs, which the trials read where they lie.
        function: what a trial's process calls.
    """

    def __init__(self, workers: int, input_sets: InputStore, function: TrialFunction = run_trial) -> None:
        self.workers = workers
        self._input_sets = input_sets
        self._function = function
        self._waiting: deque[TrialJob] = deque()
        self._running: list[_Running] = []
        self._lost = LostTrials()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        running, self._running = self._running, []
        for one in running:
            one.process.pipe.close()  # a trial ends with its pipe
        for one in running:
            _end(one)

    def submit(self, job: TrialJob) -> None:
        """See `TrialRunner`."""
        self._waiting.append(job)
        self._fill()

    def wait(self) -> TrialOutcome:
        """See `TrialRunner`."""
        while True:
            assert self._running, "nothing was submitted"
            ready = wait([one.process.pipe for one in self._running])
            for one in self._running:
                if one.process.pipe not in ready:
                    continue
                self._running.remove(one)
                outcome = self._outcome(one)
                _end(one)
                self._fill()
                if outcome is not None:
                    return outcome
                break

    def _outcome(self, one: _Running) -> TrialOutcome | None:
        """Outcome of a trial; None when it was killed and is started again."""
        answer: TrialOutcome | ProcessEnd = one.process.receive()
        if not isinstance(answer, ProcessEnd):
            return answer
        if answer.signal is None:
            return TrialOutcome(one.job.number, None, f"The trial's process ended with {answer}.")
        given_up = self._lost.given_up(one.job.number, str(answer))
        _LOG.debug("trial %d was lost (%s), %s", one.job.number, answer, "given up" if given_up else "started again")
        if given_up is None:
            self._waiting.appendleft(one.job)
        return given_up

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.workers:
            self._running.append(self._started(self._waiting.popleft()))

    def _started(self, job: TrialJob) -> _Running:
        input_sets = self._input_sets.folder
        folder = Path(tempfile.mkdtemp(prefix=f"trial-{job.number}-", dir=input_sets))
        arguments = (job, self._function, input_sets, folder)
        _LOG.debug("trial %d begins, %d run", job.number, len(self._running))
        return _Running(job, PipedProcess(f"The process of trial {job.number}", _work, arguments, _STOP_S), folder)


def _end(one: _Running) -> None:
    one.process.join()
    shutil.rmtree(one.folder, ignore_errors=True)


def _work(pipe: Connection[Any, Any], job: TrialJob, function: TrialFunction, input_sets: Path, folder: Path) -> None:
    """A trial's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_end_signals()  # they unwind: nothing half-built stays, and the toolkit ends at once
    cv2.setNumThreads(job.threads)
    threading.Thread(target=_end_with, args=(pipe, input_sets), daemon=True).start()
    try:
        outcome = TrialOutcome(job.number, function(job, input_sets, folder))
    except RkdeployError as error:
        outcome = TrialOutcome(job.number, None, error.message)
    except MemoryError:
        outcome = TrialOutcome(job.number, None, "There is not enough memory for this trial. Use fewer --workers.")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(outcome)


def _end_with(pipe: Connection[Any, Any], input_sets: Path) -> None:
    """End this process when the search does: nothing ever comes through the pipe but its end.

    The search may have been killed, so the last of its trials takes the folder with all inputs away.
    """
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    search = multiprocessing.parent_process()
    if search is None or not search.is_alive():
        shutil.rmtree(input_sets, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)  # the main thread unwinds
    time.sleep(_UNWIND_S)
    os._exit(1)
