"""Trials on this machine: a process each, a few at a time.

A trial's process has one pipe to this one.  It ends when the pipe does, also when this process is killed, and its
toolkit ends with it.
"""

from __future__ import annotations

import contextlib
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

from rkdeploy.analysis.tune.runner import MAX_LOSSES, TrialFunction, TrialOutcome, lost_often
from rkdeploy.analysis.tune.trial import TrialJob, run_trial
from rkdeploy.errors import RkdeployError
from rkdeploy.system.end_signals import EXIT_WORDS, interrupts_ignored, take_end_signals

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from types import TracebackType

    from typing_extensions import Self

    from rkdeploy.analysis.tune.parcels import ParcelStore

_STOP_S: Final = 10.0
_UNWIND_S: Final = 5.0
_TRIAL_BYTES: Final = 1200 << 20
"""What a trial was seen to take at most, its toolkit included: 0.9 GiB with YOLOv5n at 384, and some room."""


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
    process: BaseProcess
    pipe: Connection[Any, Any]
    folder: Path


class ProcessPool:
    """See `TrialRunner`.

    Args:
        workers: trials at a time.
        parcels: the inputs, which the trials read where they lie.
        function: what a trial's process calls.
    """

    def __init__(self, workers: int, parcels: ParcelStore, function: TrialFunction = run_trial) -> None:
        self.workers = workers
        self._parcels = parcels
        self._function = function
        self._waiting: deque[TrialJob] = deque()
        self._running: list[_Running] = []
        self._losses: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        running, self._running = self._running, []
        for one in running:
            one.pipe.close()  # a trial ends with its pipe
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
            ready = wait([one.pipe for one in self._running])
            for one in self._running:
                if one.pipe not in ready:
                    continue
                self._running.remove(one)
                outcome = self._outcome(one)
                _end(one)
                self._fill()
                if outcome is not None:
                    return outcome
                break

    def _outcome(self, one: _Running) -> TrialOutcome | None:
        """What a trial said; None when it was killed and is begun again."""
        try:
            answer: TrialOutcome = one.pipe.recv()
        except (EOFError, OSError):
            one.process.join(_STOP_S)
            code, number = one.process.exitcode, one.job.number
            if code is None or (code >= 0 and code not in EXIT_WORDS):
                return TrialOutcome(number, None, f"The trial's process ended with exit code {code}.")
            ended_by = -code if code < 0 else code - 128
            self._losses[number] = self._losses.get(number, 0) + 1
            if self._losses[number] <= MAX_LOSSES:
                self._waiting.appendleft(one.job)
                return None
            return TrialOutcome(number, None, lost_often(f"killed by signal {ended_by}"))
        return answer

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.workers:
            self._running.append(self._started(self._waiting.popleft()))

    def _started(self, job: TrialJob) -> _Running:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of onnxruntime and OpenCV
        here, there = context.Pipe()
        folder = Path(tempfile.mkdtemp(prefix=f"trial-{job.number}-", dir=self._parcels.folder))
        process = context.Process(
            target=_work, args=(there, job, self._function, self._parcels.folder, folder), daemon=False
        )
        try:
            with interrupts_ignored():  # a trial inherits that: this process decides when it ends
                process.start()
        except OSError as error:
            here.close()
            raise RkdeployError(
                f"The process of trial {job.number} cannot be started: {error.strerror}.", "Use fewer --workers."
            ) from error
        finally:
            there.close()
        return _Running(job, process, here, folder)


def _end(one: _Running) -> None:
    one.pipe.close()
    one.process.join(_STOP_S)
    if one.process.is_alive():
        one.process.kill()
        one.process.join()
    one.process.close()
    shutil.rmtree(one.folder, ignore_errors=True)


def _work(pipe: Connection[Any, Any], job: TrialJob, function: TrialFunction, parcels: Path, folder: Path) -> None:
    """A trial's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_end_signals()  # they unwind: nothing half-built stays, and the toolkit ends at once
    cv2.setNumThreads(job.threads)
    threading.Thread(target=_end_with, args=(pipe, parcels), daemon=True).start()
    try:
        outcome = TrialOutcome(job.number, function(job, parcels, folder))
    except RkdeployError as error:
        outcome = TrialOutcome(job.number, None, error.message)
    except MemoryError:
        outcome = TrialOutcome(job.number, None, "There is not enough memory for this trial. Use fewer --workers.")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.send(outcome)


def _end_with(pipe: Connection[Any, Any], parcels: Path) -> None:
    """End this process when the search does: nothing ever comes through the pipe but its end.

    The search may have been killed, so the last of its trials takes the folder with all inputs away.
    """
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    search = multiprocessing.parent_process()
    if search is None or not search.is_alive():
        shutil.rmtree(parcels, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)  # the main thread unwinds
    time.sleep(_UNWIND_S)
    os._exit(1)
