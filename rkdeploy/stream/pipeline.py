"""From a source to the sinks, with every core of the NPU busy.

    source -> [capture thread] -> [workers: letterbox, a context, decode] -> in order -> [sink thread] -> sinks

A context is a model on one core.  There is one worker more than contexts: while all contexts are at work, the spare
worker letterboxes the next frame or decodes the last one, so that no core waits for the CPU.  NumPy, OpenCV, ctypes
and the runtimes let go of Python's lock while they work, so threads are enough.  Each worker has a letterbox and a
decoder of its own, because those reuse buffers.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.postprocess.postprocessor import Postprocessor
from rkdeploy.preprocess import Letterbox
from rkdeploy.stream.backoff import Backoff
from rkdeploy.stream.contexts import ContextPool
from rkdeploy.stream.flow import FrameFlow
from rkdeploy.stream.statistics import PipelineStats, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.postprocess.thresholds import Thresholds
    from rkdeploy.runtime.protocol import HeadTensor, Runtime
    from rkdeploy.spec import ModelSpec
    from rkdeploy.stream.frames import Frame
    from rkdeploy.stream.sinks.protocol import Sink
    from rkdeploy.stream.sources.protocol import Source

_SWITCH_INTERVAL_S = 0.0005
_REBUILD = Backoff(first_s=0.1, max_s=5.0)


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How a pipeline runs.

    Attributes:
        max_frames: end after this many frames have reached the sinks; None for all.
        spare_workers: workers beyond one a context.
        backoff: for contexts that failed.
        max_failures: the run ends when every context has failed this often in a row.
        join_s: how long the threads may take to end once they are told; longer is an error.
    """

    max_frames: int | None = None
    spare_workers: int = 1
    backoff: Backoff = _REBUILD
    max_failures: int = 5
    join_s: float = 30.0


class Pipeline:
    """Runs a model over a source.  Entering starts it; leaving ends it and raises what went wrong.

        with source as frames, Pipeline(source, frames, runtimes, ...) as pipeline:
            while not pipeline.wait(0.1):
                print(pipeline.stats())

    When the source ends, `stop` is called, or the context is left, what is under way is finished and written.  An
    exception in any thread ends all of them, and is raised on leaving.

    Args:
        source: open; its `live` decides between dropping frames (the newest wins) and waiting (none is lost).
        frames: what entering the source gave.
        runtimes: one a core, not entered.  Entered and left here.
        reopen: makes a replacement, not entered, for the runtime at a position.
        spec: the contract of the model that they run.
        thresholds: which detections are kept.
        sinks: open; each gets every frame in order, from one thread.
        options: see `PipelineOptions`.

    Entering raises:
        RkdeployError: for an inconsistent contract, or when a runtime cannot be opened.
    """

    def __init__(
        self,
        source: Source,
        frames: Iterable[Frame],
        runtimes: Sequence[Runtime],
        spec: ModelSpec,
        thresholds: Thresholds,
        sinks: Sequence[Sink],
        *,
        reopen: Callable[[int], Runtime],
        options: PipelineOptions | None = None,
    ) -> None:
        self._source, self._frames = source, frames
        self._sinks = tuple(sinks)
        self._options = options or PipelineOptions()
        workers = len(runtimes) + self._options.spare_workers
        self._workers = [_Worker(spec, thresholds) for _ in range(workers)]
        self._flow = FrameFlow(
            live=source.live, tickets=2 * workers, waiting=1 if source.live else 2, ready=2 if source.live else 1
        )
        self._pool = ContextPool(
            runtimes,
            reopen,
            self._options.backoff,
            self._options.max_failures,
            self._flow.pause,
        )
        self._recorder = Recorder()
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._failing = threading.Lock()
        self._error: BaseException | None = None
        self._started_s = self._ended_s = 0.0
        self._switch_interval = sys.getswitchinterval()

    def __enter__(self) -> Self:
        self._pool.__enter__()
        # A worker that comes back from the NPU needs Python's lock for the next call; drawing in another thread keeps
        # it for 5 ms by default, a third of an inference.
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._started_s = time.perf_counter()
        bodies: list[tuple[str, Callable[[], None]]] = [("capture", self._capture), ("sinks", self._deliver)]
        bodies += [(f"worker-{i}", partial(self._work, worker)) for i, worker in enumerate(self._workers)]
        # Daemons: they are always joined, but a driver call that never returns must not keep the process.
        self._threads = [
            threading.Thread(target=self._guarded, args=(run,), name=f"rkdeploy-{name}", daemon=True)
            for name, run in bodies
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        else:
            self._abort()
        deadline = time.monotonic() + self._options.join_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        sys.setswitchinterval(self._switch_interval)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            # Closing a context or a capture under a running call would crash: it stays as it is until the process ends.
            raise RkdeployError(
                f"{', '.join(stuck)} did not end within {self._options.join_s:g} s.",
                "A driver call hangs. See `dmesg`; restart the program, or the board if that does not help.",
            ) from self._error
        try:
            self._pool.__exit__(kind, error, trace)
        except BaseException:
            if self._error is None and error is None:
                raise
        if self._error is not None and error is None:
            raise self._error

    @property
    def notes(self) -> tuple[str, ...]:
        """What the runtimes want the user to know, each once."""
        return self._pool.notes

    @property
    def figures_from(self) -> str:
        """Where the figures come from, as a user reads it."""
        return self._pool.figures_from

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the last frame is through, or something failed (raised on leaving).  True when it is over."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """Take no more frames; what is under way is finished.  From any thread, but not from a signal handler."""
        self._source.stop()
        self._flow.close(hurry=True)

    def stats(self) -> PipelineStats:
        """This moment's figures; from any thread, also after the end."""
        # In the order of a frame's way: a frame may be missing in one count, never be in two.
        processed = self._recorder.processed()
        counts = self._flow.counts()
        now = self._ended_s or time.perf_counter()
        return PipelineStats(
            captured=counts.captured,
            processed=processed,
            failed=counts.failed,
            dropped_before_network=counts.dropped_before_network,
            dropped_before_sinks=counts.dropped_before_sinks,
            reconnects=self._source.reconnects,
            contexts_rebuilt=self._pool.rebuilt,
            contexts=len(self._pool),
            contexts_working=self._pool.working,
            frames_per_second=self._recorder.frames_per_second(now),
            running_s=now - self._started_s if self._started_s else 0.0,
            last_failure=self._pool.last_failure,
            stages=self._recorder.stages(),
        )

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that leaves the pipeline
            with self._failing:
                self._error = self._error or error
            self._abort()

    def _abort(self) -> None:
        self._source.stop()
        self._flow.abort()
        self._pool.abort()
        self._ended.set()

    def _capture(self) -> None:
        limit = None if self._source.live else self._options.max_frames
        asked = time.perf_counter()
        for count, frame in enumerate(self._frames, 1):
            arrived = time.perf_counter()
            self._recorder.add("capture", arrived - asked)
            if not self._flow.put(frame, arrived):
                return
            if count == limit:
                break
            asked = time.perf_counter()
        self._flow.close()

    def _work(self, worker: _Worker) -> None:
        add = self._recorder.add
        while (job := self._flow.take()) is not None:
            started = time.perf_counter()
            boxed = worker.letterbox(job.frame.image)
            letterboxed = time.perf_counter()
            add("preprocess", letterboxed - started)
            context = self._pool.take()
            if context is None or context.runtime is None:
                self._flow.finish(job, None)
                continue
            free = time.perf_counter()
            add("context", free - letterboxed)
            try:
                tensors = context.runtime.infer(boxed.image)
            except BackendError as failure:
                self._flow.finish(job, None)
                self._pool.rebuild(context, failure)
                continue
            add("infer", time.perf_counter() - free)
            tensors = worker.keep(tensors)
            self._pool.give_back(context)
            begun = time.perf_counter()
            detections = worker.postprocess(tensors, boxed.transform)
            add("decode", time.perf_counter() - begun)
            self._flow.finish(job, detections)

    def _deliver(self) -> None:
        count = 0
        while (result := self._flow.deliver()) is not None:
            begun = time.perf_counter()
            for sink in self._sinks:
                sink.write(result.job.frame, result.detections)
            done = time.perf_counter()
            self._recorder.add("sink", done - begun)
            self._recorder.add("age", done - result.job.captured_s)
            self._recorder.add_processed(done)
            count += 1
            if count == self._options.max_frames:
                break
        self._ended_s = time.perf_counter()
        if count == self._options.max_frames:
            self.stop()
            self._flow.discard_rest()
        self._ended.set()


class _Worker:
    """What one worker keeps for itself."""

    def __init__(self, spec: ModelSpec, thresholds: Thresholds) -> None:
        self.letterbox = Letterbox(spec.input)
        self.postprocess = Postprocessor(spec, thresholds)
        self._kept: list[NDArray[Any]] = []

    def keep(self, tensors: Sequence[HeadTensor]) -> tuple[HeadTensor, ...]:
        """The tensors in buffers of our own: a runtime's are valid until its next call, and the next frame waits."""
        fits = len(self._kept) == len(tensors) and all(
            kept.shape == tensor.values.shape and kept.dtype == tensor.values.dtype
            for kept, tensor in zip(self._kept, tensors, strict=True)
        )
        if not fits:
            self._kept = [np.empty_like(tensor.values) for tensor in tensors]  # keeps the layout: one plain copy
        for kept, tensor in zip(self._kept, tensors, strict=True):
            np.copyto(kept, tensor.values)
        return tuple(replace(tensor, values=kept) for kept, tensor in zip(self._kept, tensors, strict=True))
