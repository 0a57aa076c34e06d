"""Predictions of many images, in this process or in several that each open a runtime of their own.

Each worker has one pipe to this process: it asks for nothing, is given a part at a time, and ends when its pipe does,
also when this process is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.bundle import read_bundle
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.evaluate.predictions import Prediction
from rkdeploy.evaluate.predictor import Predictor
from rkdeploy.evaluate.state import Part
from rkdeploy.runtime.board import read_board
from rkdeploy.runtime.cores import CoreMask, core_count
from rkdeploy.runtime.protocol import RuntimeOptions
from rkdeploy.runtime.registry import open_runtime

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from rkdeploy.evaluate.truth import DataImage
    from rkdeploy.postprocess.thresholds import Thresholds

Images = Sequence["DataImage"]
_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Network:
    """What a worker opens.

    Attributes:
        bundle: its folder.
        backend: name of the runtime backend.
        thresholds, multi_label: see `Predictor`.
        options: for the backend.
    """

    bundle: Path
    backend: str
    thresholds: Thresholds
    multi_label: bool
    options: RuntimeOptions


def predict_parts(
    network: Network, parts: Sequence[tuple[int, Images]], workers: int, on_image: Callable[[], None]
) -> Generator[tuple[int, Part], None, None]:
    """The predictions of every part, as they are done; the order is that of the parts only with one worker.

    Args:
        network: what to run.
        parts: (number, images) each.
        workers: processes; 1 works in this one.
        on_image: called after every image.

    Raises:
        RkdeployError: when a backend cannot be opened or fails, or a worker ends without a word.
    """
    if not parts:
        return
    if workers > 1 and len(parts) > 1:
        yield from _in_processes(network, parts, min(workers, len(parts)), on_image)
        return
    with _opened(network, None) as predict:
        for number, images in parts:
            yield number, predict(images, on_image)


@contextmanager
def _opened(network: Network, worker: int | None) -> Iterator[Callable[[Images, Callable[[], None]], Part]]:
    """A runtime that is open, as a function from images to a part."""
    bundle = read_bundle(network.bundle, check_hashes=False)
    predictor = Predictor(bundle.spec, network.thresholds, multi_label=network.multi_label)
    core = None if worker is None else _core_of(worker)
    with open_runtime(network.backend, bundle, core, network.options) as runtime:

        def predict(images: Images, on_image: Callable[[], None]) -> Part:
            found = []
            for image in images:
                loaded = predictor.load(image)
                if not isinstance(loaded, Prediction):
                    tensors = runtime.infer(loaded.image)
                    loaded = predictor.prediction(image, tensors, loaded.transform)
                found.append(loaded)
                on_image()
            return Part(tuple(found), runtime.figures_from)

        yield predict


def _core_of(worker: int) -> CoreMask | None:
    """The NPU core of a worker; None leaves it to the runtime."""
    soc = read_board().soc
    cores = core_count(soc) if soc else 1
    return CoreMask.of_core(worker % cores) if cores > 1 else None


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection[Any, Any]
    busy: bool = False


def _in_processes(
    network: Network, parts: Sequence[tuple[int, Images]], count: int, on_image: Callable[[], None]
) -> Generator[tuple[int, Part], None, None]:
    workers: list[_Worker] = []
    try:
        with _interrupts_ignored():  # a worker inherits that: this process decides when it ends
            workers.extend(_started(network, index, count) for index in range(count))
        waiting = list(reversed(parts))
        for worker in workers:
            worker.pipe.send(waiting.pop())
            worker.busy = True
        while any(worker.busy for worker in workers):
            ready = wait([worker.pipe for worker in workers if worker.busy])
            for worker in workers:
                if worker.pipe not in ready:
                    continue
                answer = _received(worker)
                if answer is None:
                    on_image()
                    continue
                worker.busy = bool(waiting)
                if waiting:
                    worker.pipe.send(waiting.pop())
                yield answer
    finally:
        _end(workers)


def _started(network: Network, index: int, count: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of onnxruntime and OpenCV
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, network, index, count), daemon=False)
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


def _received(worker: _Worker) -> tuple[int, Part] | None:
    """A part that is done; None after a single image."""
    try:
        answer = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(_STOP_S)
        code = worker.process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise BackendError(
            f"A worker ended without a word ({how}).",
            "Often memory is short: use fewer --workers. Start again, and it goes on where it was.",
        ) from None
    if isinstance(answer, Exception):
        raise answer
    found: tuple[int, Part] | None = answer
    return found


def _end(workers: Sequence[_Worker]) -> None:
    """Close the pipes: the workers leave their runtimes and end; one that does not is killed."""
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection[Any, Any], network: Network, index: int, count: int) -> None:
    """A worker's life: parts in, predictions out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // count))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # this evaluation was stopped
        try:
            with _opened(network, index) as predict:
                while True:
                    number, images = pipe.recv()
                    pipe.send((number, predict(images, lambda: pipe.send(None))))
        except RkdeployError as error:
            # As plain text: an error with a second argument does not survive pickling.
            pipe.send(_plain(error))


def _plain(error: RkdeployError) -> RkdeployError:
    plain = RkdeployError(f"{error.message} {error.hint}".strip())
    plain.__cause__ = None
    return plain


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
