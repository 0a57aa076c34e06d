"""Several processes that share a list of tasks, each with one pipe to this process.

A worker gets one task at a time, answers with any number of messages and then with `DONE`, and ends when its
pipe closes, also when this process is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.errors import RkdeployError
from rkdeploy.system.end_signals import interrupts_ignored

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    Pipe = Connection[Any, Any]

DONE: Final = "done"
"""A worker's last message per task.  No other message is a string."""
_STOP_S: Final = 20.0


class LostWorkerError(RkdeployError):
    """A worker ended without a message."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Pipe
    busy: bool = False


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
        with interrupts_ignored():  # inherited by the worker: this process decides when it ends
            workers.extend(_started(work, index, arguments) for index in range(min(count, len(tasks))))
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


def _started(work: Callable[..., None], index: int, arguments: Sequence[Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks held by threads of onnxruntime and OpenCV
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, index, *arguments), daemon=False)
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


def _received(worker: _Worker) -> Any:
    try:
        message = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(_STOP_S)
        code = worker.process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise LostWorkerError(
            f"A worker ended without a message ({how}).",
            "The usual cause is too little memory: use fewer --workers. Start again to resume.",
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _end(workers: Sequence[_Worker], *, terminate: bool) -> None:
    """Close the pipes: the workers clean up and end; one that does not is killed."""
    for worker in workers:
        worker.pipe.close()
        if worker.busy and terminate:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
