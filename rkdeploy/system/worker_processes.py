"""Several processes that share a list of tasks, each with one pipe to this process.

A worker gets one task at a time, answers with any number of messages and then with `DONE`, and ends when its
pipe closes, also when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.errors import RkdeployError
from rkdeploy.system.piped_process import PipedProcess, ProcessEnd

if TYPE_CHECKING:
    Pipe = Connection[Any, Any]

DONE: Final = "done"
"""A worker's last message per task.  No other message is a string."""
_STOP_S: Final = 20.0


class LostWorkerError(RkdeployError):
    """A worker ended without a message."""


@dataclass(slots=True)
class _Worker:
    process: PipedProcess
    busy: bool = False

    @property
    def pipe(self) -> Pipe:
        return self.process.pipe


def work_off(
    tasks: Sequence[Any], count: int, work: Callable[..., None], arguments: Sequence[Any], *, terminate: bool = False
) -> Generator[Any, None, None]:
    """Run the tasks in worker processes and yield their messages as they come.

    Args:
        tasks: sent one at a time; picklable, like the messages.
        count: number of processes.
        work: module-level function that a worker runs: `work(pipe, index, *arguments)`, with the worker's number from
            0 on.  It calls `serve`.
        arguments: picklable.
        terminate: when the caller stops early, end busy workers by SIGTERM instead of letting them finish their task.

    Raises:
        LostWorkerError: a worker ended without a message.
        RkdeployError: a worker cannot be started, or an exception that it sent.
    """
    workers: list[_Worker] = []
    try:
        workers.extend(
            _Worker(PipedProcess(f"Worker {index + 1}", work, (index, *arguments), _STOP_S))
            for index in range(min(count, len(tasks)))
        )
        waiting = list(reversed(tasks))
        for worker in workers:
            worker.pipe.send(waiting.pop())
            worker.busy = True
        while any(worker.busy for worker in workers):
            ready = wait([worker.pipe for worker in workers if worker.busy])
            for worker in workers:
                if worker.pipe not in ready:
                    continue
                message = _received(worker)
                if not isinstance(message, str):
                    yield message
                    continue
                worker.busy = bool(waiting)
                if waiting:
                    worker.pipe.send(waiting.pop())
    finally:
        _end(workers, terminate=terminate)


def serve(pipe: Pipe, count: int, handle: Callable[[Any], None]) -> None:
    """In a worker: handle each task and report it, until the pipe closes.

    Interrupts are handled by the parent, and OpenCV uses this worker's share of the processors.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // count))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent stopped
        while True:
            handle(pipe.recv())
            pipe.send(DONE)


def _received(worker: _Worker) -> Any:
    message = worker.process.receive()
    if isinstance(message, ProcessEnd):
        raise LostWorkerError(
            f"A worker ended without a message ({message}).",
            "The usual cause is too little memory: use fewer --workers. Start again to resume.",
        )
    if isinstance(message, Exception):
        raise message
    return message


def _end(workers: Sequence[_Worker], *, terminate: bool) -> None:
    """Close the pipes: the workers clean up and end; one that does not is killed."""
    for worker in workers:
        worker.process.pipe.close()
        if worker.busy and terminate:
            worker.process.terminate()
    for worker in workers:
        worker.process.join()
