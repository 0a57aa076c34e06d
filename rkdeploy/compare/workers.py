"""The builds of a comparison in several processes, each with a toolkit of its own.

A build keeps about one core busy.  Each worker has one pipe to this process: it is given a group of builds at a time
and ends when its pipe does.  One that is stopped while it builds leaves nothing of that build behind.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.building.events import BuildEvents
from rkdeploy.compare.comparison import Row
from rkdeploy.compare.group import build_group
from rkdeploy.compare.preparation import Prepared
from rkdeploy.compare.variants import CompareOptions, Variant
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_STOP_S: Final = 20.0
_TERMINATED: Final = 128 + signal.SIGTERM


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection[Any, Any]
    busy: bool = False


def build_in_processes(
    options: CompareOptions,
    prepared: Prepared,
    groups: Sequence[Sequence[Variant]],
    begin: Callable[[Variant], None],
    events: BuildEvents,
) -> Iterator[Row]:
    """A row for each build, as it is done; see `build_group`.  Of the builds' events the warnings are passed on.

    Raises:
        RkdeployError: when a worker cannot be started, or ends without a word.
    """
    workers: list[_Worker] = []
    count = min(options.workers, len(groups))
    with _folder(options):
        try:
            with _interrupts_ignored():  # a worker inherits that: this process decides when it ends
                workers.extend(_started(options, prepared, index, count) for index in range(count))
            waiting = list(reversed(groups))
            for worker in workers:
                worker.pipe.send(waiting.pop())
                worker.busy = True
            while any(worker.busy for worker in workers):
                ready = wait([worker.pipe for worker in workers if worker.busy])
                for worker in workers:
                    if worker.pipe not in ready:
                        continue
                    kind, value = _received(worker)
                    if kind == "begin":
                        begin(value)
                    elif kind == "warning":
                        events.warning(value)
                    elif kind == "row":
                        yield value
                    else:
                        worker.busy = bool(waiting)
                        if waiting:
                            worker.pipe.send(waiting.pop())
        finally:
            _end(workers)


@contextmanager
def _folder(options: CompareOptions) -> Iterator[None]:
    """The folder for the bundles, there before the first build: no failed one may take it away from another."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RkdeployError(f'Folder "{options.out}" cannot be made: {error.strerror}.') from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # holds bundles
            options.out.rmdir()


def _started(options: CompareOptions, prepared: Prepared, index: int, count: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of onnxruntime and OpenCV
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, options, prepared, count), daemon=False)
    try:
        process.start()
    except OSError as error:
        here.close()
        raise RkdeployError(
            f"Worker {index + 1} cannot be started: {error.strerror}.", "Use fewer --workers."
        ) from error
    finally:
        there.close()
    return _Worker(process, here)


def _received(worker: _Worker) -> tuple[str, Any]:
    """What a worker says: a build that begins, a warning, a row, or that its group is done."""
    try:
        message: tuple[str, Any] = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(_STOP_S)
        code = worker.process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise RkdeployError(
            f"A worker ended without a word ({how}).",
            "Often memory is short: use fewer --workers. Start again, and what was built is kept.",
        ) from None
    return message


def _end(workers: Sequence[_Worker]) -> None:
    """End the workers; those that build clear away what they began.  One that does not end is killed."""
    for worker in workers:
        worker.pipe.close()
        if worker.busy:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


class _PipedEvents(BuildEvents):
    """Passes a build's warnings on."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def warning(self, text: str) -> None:
        self._pipe.send(("warning", text))


def _work(pipe: Connection[Any, Any], options: CompareOptions, prepared: Prepared, count: int) -> None:
    """A worker's life: groups in, rows out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # unwinds: nothing half-built stays
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // count))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # this comparison was stopped
        while True:
            group = pipe.recv()
            for row in build_group(options, prepared, group, lambda v: pipe.send(("begin", v)), _PipedEvents(pipe)):
                pipe.send(("row", row))
            pipe.send(("done", None))


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
