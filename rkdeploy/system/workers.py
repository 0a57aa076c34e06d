"""Several processes that work off a list, each with one pipe to this one.

A worker is given a task at a time, answers with as many messages as it likes and then with `DONE`, and ends when its
pipe does, also when this process is killed.
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
"""A worker's last message of a task.  No other message is a string."""
_STOP_S: Final = 20.0


class LostWorkerError(RkdeployError):
    """A worker ended without a word."""


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Pipe
    busy: bool = False


def work_off(
    tasks: Sequence[Any], count: int, work: Callable[..., None], arguments: Sequence[Any], *, terminate: bool = False
) -> Generator[Any, None, None]:
    """Messages of workers that work off the tasks, as they come.

    Args:
        tasks: what is sent, one at a time; picklable, as the messages.
        count: processes.
        work: what a worker runs, a function of a module: `work(pipe, index, *arguments)`, with the worker's number from
            0 on.  It calls `serve`.
        arguments: picklable.
        terminate: when the caller stops early, end busy workers by SIGTERM instead of letting them finish their task.

    Raises:
        LostWorkerError: a worker ended without a word.
        RkdeployError: one cannot be started, or whatever it sent as an exception.
    """
    workers: list[_Worker] = []
    try:
        with interrupts_ignored():  # a worker inherits that: this process decides when it ends
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
    """In a worker: handle each task and say so, until the pipe ends.

    Interrupts are the parent's business, and OpenCV takes its share of the processors.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // count))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent stopped
        while True:
            handle(pipe.recv())
            pipe.send(DONE)


def _started(work: Callable[..., None], index: int, arguments: Sequence[Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of onnxruntime and OpenCV
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
            f"A worker ended without a word ({how}).",
            "Often memory is short: use fewer --workers. Start again, and it goes on where it was.",
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _end(workers: Sequence[_Worker], *, terminate: bool) -> None:
    """Close the pipes: the workers clear away and end; one that does not is killed."""
    for worker in workers:
        worker.pipe.close()
        if worker.busy and terminate:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
