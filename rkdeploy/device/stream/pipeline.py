"""From a source to the sinks, with every core of the NPU busy.

    source -> capture -> preprocess -> one context per core -> decode -> in order -> sinks
              thread     thread        one thread each         thread               thread

A context is a model on one core.  Its thread only runs it: the next input is ready when the thread returns, and
the outputs are copied for the decode.  So no core waits for the CPU, or for another thread to wake up.  NumPy,
OpenCV, ctypes and the runtimes release the GIL while they work, so threads are enough.

Each frame under way has a slot, with its own letterbox and decoder, because those reuse buffers.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.contexts import Contexts
from rkdeploy.device.stream.flow import FrameFlow
from rkdeploy.device.stream.statistics import PipelineStats, StageTimer
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.fit import Letterboxed, image_fit
from rkdeploy.system.switch_interval import short_switch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import HeadTensor, Runtime
    from rkdeploy.device.stream.flow import Job
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sources.source import Source

_REBUILD = Backoff(first_s=0.1, max_s=5.0)


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """Options of a pipeline.

    Attributes:
        max_frames: end after this many frames have reached the sinks; None for all.
        spare_slots: frames under way beyond one per context: letterboxed ahead, or being decoded.  More smooth out
            variations of the CPU's work; fewer keep a camera's frames more recent.
        backoff: for contexts that failed.
        max_failures: the run ends when every context has failed this often in a row.
        join_s: seconds that the threads may take to end; longer is an error.
    """

    max_frames: int | None = None
    spare_slots: int = 2
    backoff: Backoff = _REBUILD
    max_failures: int = 5
    join_s: float = 30.0


class Pipeline:
    """Runs a model over a source.  Entering starts it; leaving ends it and raises the first error.

        with source as frames, Pipeline(source, frames, runtimes, ...) as pipeline:
            while not pipeline.wait(0.1):
                print(pipeline.stats())

    When the source ends, `stop` is called, or the context is left, frames under way are finished and written.  An
    exception in any thread ends all of them, and is raised on leaving.

    Args:
        source: open; its `live` decides between dropping frames (the newest wins) and waiting (none is lost).
        frames: iterator returned by entering the source.
        runtimes: one per core, not entered.  Entered and left here, and again when one failed.
        spec: the contract of their model.
        thresholds: limits of the detections to keep.
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
        options: PipelineOptions | None = None,
    ) -> None:
        self._source, self._frames = source, frames
        self._sinks = tuple(sinks)
        self._options = options or PipelineOptions()
        slots = len(runtimes) + self._options.spare_slots
        self._flow = FrameFlow(
            live=source.live, tickets=2 * slots, waiting=1 if source.live else 2, ready=2 if source.live else 1
        )
        self._contexts = Contexts(runtimes, self._options.backoff, self._options.max_failures, self._flow.pause)
        # None ends the thread that takes it.
        self._free: SimpleQueue[_Slot | None] = SimpleQueue()
        self._prepared: SimpleQueue[_Slot | None] = SimpleQueue()
        self._answered: SimpleQueue[_Slot | None] = SimpleQueue()
        for _ in range(slots):
            self._free.put(_Slot(spec, thresholds))
        self._contexts_left = len(runtimes)
        self._leaving = threading.Lock()
        self._aborted = False
        self._recorder = StageTimer()
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._failing = threading.Lock()
        self._error: BaseException | None = None
        self._started_s = self._ended_s = 0.0
        self._interval = ExitStack()

    def __enter__(self) -> Self:
        self._contexts.__enter__()
        # A worker that comes back from the NPU needs the GIL for the next call; drawing in another thread keeps it for
        # 5 ms by default, a third of an inference.
        self._interval.enter_context(short_switch_interval())
        self._started_s = time.perf_counter()
        bodies: list[tuple[str, Callable[[], None]]] = [
            ("capture", self._capture),
            ("preprocess", self._preprocess),
            *((f"context-{position}", partial(self._infer, position)) for position in range(len(self._contexts))),
            ("decode", self._decode),
            ("sinks", self._deliver),
        ]
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
        self._interval.close()
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            # Closing a context or a capture during a call would crash: it stays open until the process ends.
            raise RkdeployError(
                f"{', '.join(stuck)} did not end within {self._options.join_s:g} s.",
                "A driver call hangs. See `dmesg`; restart the program, or the board if that does not help.",
            ) from self._error
        try:
            self._contexts.__exit__(kind, error, trace)
        except BaseException:
            if self._error is None and error is None:
                raise
        if self._error is not None and error is None:
            raise self._error

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the runtimes for the user, without duplicates."""
        return self._contexts.notes

    @property
    def figures_from(self) -> str:
        """Source of the figures, for users."""
        return self._contexts.figures_from

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the last frame is through, or an error occurred (raised on leaving).  True when it is over."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """Accept no more frames; frames under way are finished.  From any thread, but not from a signal handler."""
        self._source.stop()
        self._flow.close(hurry=True)

    def stats(self) -> PipelineStats:
        """Current figures; from any thread, also after the end."""
        # In the order of a frame's path: a frame may be missing in one count, but is never in two.
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
            contexts_rebuilt=self._contexts.rebuilt,
            contexts=len(self._contexts),
            contexts_working=self._contexts.working,
            frames_per_second=self._recorder.frames_per_second(now),
            running_s=now - self._started_s if self._started_s else 0.0,
            last_failure=self._contexts.last_failure,
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
        self._aborted = True
        for queue in (self._free, self._answered, *(self._prepared for _ in range(len(self._contexts)))):
            queue.put(None)
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

    def _preprocess(self) -> None:
        # The slot first: then the frame taken is the newest one.
        while (slot := self._free.get()) is not None and (job := self._flow.take()) is not None:
            begun = time.perf_counter()
            slot.load(job)
            slot.since_s = time.perf_counter()
            self._recorder.add("preprocess", slot.since_s - begun)
            self._prepared.put(slot)
        for _ in range(len(self._contexts)):
            self._prepared.put(None)

    def _infer(self, position: int) -> None:
        context = self._contexts[position]
        add = self._recorder.add
        while (slot := self._prepared.get()) is not None and not self._aborted:
            if not context.is_open:  # given up, and no other context is left
                self._fail(slot)
                continue
            begun = time.perf_counter()
            try:
                tensors = context.runtime.infer(slot.input)
            except BackendError as failure:
                self._fail(slot)
                if not self._contexts.rebuild(context, failure) and not self._is_last_context():
                    return
                continue
            done = time.perf_counter()
            slot.keep(tensors)
            self._answered.put(slot)
            self._contexts.succeeded(context)
            add("context", begun - slot.since_s)
            add("infer", done - begun)
        if self._is_last_context():
            self._answered.put(None)

    def _is_last_context(self) -> bool:
        """Count the calling thread's context as ended; True if it was the last one."""
        with self._leaving:
            if self._contexts_left > 1:
                self._contexts_left -= 1
                return False
            return True

    def _fail(self, slot: _Slot) -> None:
        self._flow.finish(slot.unload(), None)
        self._free.put(slot)

    def _decode(self) -> None:
        while (slot := self._answered.get()) is not None:
            begun = time.perf_counter()
            detections = slot.decoded()
            self._recorder.add("decode", time.perf_counter() - begun)
            self._flow.finish(slot.unload(), detections)
            self._free.put(slot)

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


class _Slot:
    """The buffers of one frame under way; used by one thread at a time.

    Attributes:
        since_s: when its input was ready, by `time.perf_counter`.
    """

    def __init__(self, spec: ModelSpec, thresholds: Thresholds) -> None:
        self._fit = image_fit(spec.input)
        self._postprocess = Postprocessor(spec, thresholds)
        self._kept: list[NDArray[Any]] = []
        self._tensors: tuple[HeadTensor, ...] = ()
        self._job: Job | None = None
        self._boxed: Letterboxed | None = None
        self.since_s = 0.0

    def load(self, job: Job) -> None:
        """Take a frame and letterbox it."""
        self._job = job
        self._boxed = self._fit(job.frame.image)

    @property
    def input(self) -> NDArray[np.uint8]:
        """Input of the network, (1, H, W, 3) uint8."""
        assert self._boxed is not None, "a slot is loaded before it is inferred"
        return self._boxed.image

    def keep(self, tensors: Sequence[HeadTensor]) -> None:
        """Copy the tensors into the slot's buffers: a runtime's are valid until its next call."""
        fits = len(self._kept) == len(tensors) and all(
            kept.shape == tensor.values.shape and kept.dtype == tensor.values.dtype
            for kept, tensor in zip(self._kept, tensors, strict=True)
        )
        if not fits:
            self._kept = [np.empty_like(tensor.values) for tensor in tensors]  # keeps the layout: one plain copy
        for kept, tensor in zip(self._kept, tensors, strict=True):
            np.copyto(kept, tensor.values)
        self._tensors = tuple(replace(tensor, values=kept) for kept, tensor in zip(self._kept, tensors, strict=True))

    def decoded(self) -> Detections:
        """Detections from the copied tensors, in source pixels."""
        assert self._boxed is not None, "a slot is loaded before it is decoded"
        return self._postprocess(self._tensors, self._boxed.transform)

    def unload(self) -> Job:
        """Return the frame; the buffers stay."""
        job, self._job, self._boxed = self._job, None, None
        assert job is not None, "a slot gives its frame back once"
        return job
