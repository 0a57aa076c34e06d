"""From a source to the sinks, with every core of the NPU busy.

    source -> capture -> preprocess -> one context per core -> decode -> in order -> sinks
              thread     thread        one thread each         thread               thread

In a chain, crops of what was found pass through further models between decode and order (`recognition.py`).
From preprocess to decode it is a `ModelStage`.  NumPy, OpenCV, ctypes and the runtimes release the GIL while they work,
so threads are enough.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.contexts import Contexts
from rkdeploy.device.stream.flow import FlowCounts, FrameFlow
from rkdeploy.device.stream.model_stage import ModelStage
from rkdeploy.device.stream.recognition import Recognition
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.device.stream.statistics import PipelineStats, SourceStats, StageTimer
from rkdeploy.errors import RkdeployError
from rkdeploy.system.file_names import readable_name
from rkdeploy.system.switch_interval import short_switch_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.chain.recognizer import Recognizer
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import MemorySize, Runtime
    from rkdeploy.device.stream.flow import Job
    from rkdeploy.device.stream.frame_picture import FramePicture
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sources.source import Source

_REBUILD = Backoff(first_s=0.1, max_s=5.0)


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """Options of a pipeline.

    Attributes:
        max_frames: end after this many frames have reached the sinks; None for all.
        ahead: frames that are letterboxed while every context runs.  None is one, which is enough to keep them busy,
            and two for several live sources, whose frames come at the same moment.  Each makes frames older by a
            context's time over the number of contexts.
        backoff: for contexts that failed.
        max_failures: the run ends when every context has failed this often in a row.
        join_s: seconds that the threads may take to end; longer is an error.
    """

    max_frames: int | None = None
    ahead: int | None = None
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
        runtimes: one per context, not entered.  Entered and left here, and again when one failed.
        spec: the contract of their model.
        thresholds: limits of the detections to keep.
        sinks: open; each gets every frame in order, from one thread.
        recognizers: further models of a chain, which look at what this one finds; see `Recognition`.
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
        recognizers: Sequence[Recognizer] = (),
        options: PipelineOptions | None = None,
    ) -> None:
        self._source, self._frames = source, frames
        self._sinks = tuple(sinks)
        self._options = options or PipelineOptions()
        given = self._options
        ahead = _frames_ahead(source) if given.ahead is None else given.ahead
        under_way = sum(len(one) + ahead for one in (runtimes, *(one.runtimes for one in recognizers)))
        self._flow = FrameFlow(live=source.live, tickets=2 * under_way, waiting=1, ready=2 if source.live else 1)
        self._contexts = Contexts(runtimes, given.backoff, given.max_failures, self._flow.pause)
        self._recorder = StageTimer()
        self._recognition = Recognition(
            recognizers,
            self._flow,
            backoff=given.backoff,
            max_failures=given.max_failures,
            ahead=ahead,
        )
        queue = _FrameQueue(self._flow, self._recognition if recognizers else None)
        self._stage = ModelStage(self._contexts, spec, thresholds, queue, ahead=ahead, timer=self._recorder)
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._failing = threading.Lock()
        self._error: BaseException | None = None
        self._started_s = self._ended_s = 0.0
        self._open, self._interval = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._contexts)
            stack.enter_context(self._recognition)
            self._open = stack.pop_all()
        # A worker that comes back from the NPU needs the GIL for the next call; drawing in another thread keeps it for
        # 5 ms by default, a third of an inference.
        self._interval.enter_context(short_switch_interval())
        self._started_s = time.perf_counter()
        bodies: list[tuple[str, Callable[[], None]]] = [
            ("capture", self._capture),
            *self._stage.bodies(),
            *self._recognition.bodies(),
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
            self._open.__exit__(kind, error, trace)
        except BaseException:
            if self._error is None and error is None:
                raise
        if self._error is not None and error is None:
            raise self._error

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the runtimes for the user, without duplicates."""
        each = (self._contexts, *self._recognition.contexts)
        return tuple(dict.fromkeys(note for contexts in each for note in contexts.notes))

    @property
    def memory(self) -> tuple[MemorySize, ...]:
        """Memory of each of the first model's contexts; empty if the runtime does not say."""
        return self._contexts.memory

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
        self._recognition.close(hurry=True)

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
            last_failure=self._contexts.last_failure or self._recognition.last_failure,
            stages=self._recorder.stages(),
            recognizers=self._recognition.stats(),
            sources=self._source_stats(now),
        )

    def _source_stats(self, now_s: float) -> tuple[SourceStats, ...]:
        """Figures of each of several live sources."""
        parts = parts_of(self._source)
        if not self._source.live or len(parts) < 2:
            return ()
        counts = self._flow.counts_by_origin()
        return tuple(
            SourceStats(
                name=readable_name(part.text),
                captured=(own := counts.get(origin, FlowCounts(0, 0, 0, 0, 0))).captured,
                processed=own.delivered,
                failed=own.failed,
                dropped_before_network=own.dropped_before_network,
                dropped_before_sinks=own.dropped_before_sinks,
                reconnects=part.reconnects,
                frames_per_second=self._recorder.frames_per_second(now_s, origin),
            )
            for origin, part in enumerate(parts)
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
        self._stage.abort()
        self._recognition.abort()
        self._ended.set()

    def _capture(self) -> None:
        limit = None if self._source.live else self._options.max_frames
        frames = islice(self._frames, limit)
        # Room first: a frame that is read before there is room for it only grows older.
        while self._flow.wait_for_room():
            asked = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                break
            arrived = time.perf_counter()
            self._recorder.add("capture", arrived - asked)
            if not self._flow.put(frame, arrived):
                break
        self._flow.close()

    def _deliver(self) -> None:
        count = 0
        while (result := self._flow.deliver()) is not None:
            begun = time.perf_counter()
            for sink in self._sinks:
                sink.write(result.job.frame, result.detections)
            done = time.perf_counter()
            self._recorder.add("sink", done - begun)
            self._recorder.add("age", done - result.job.captured_s)
            self._recorder.add_processed(done, result.job.frame.origin)
            count += 1
            if count == self._options.max_frames:
                break
        self._ended_s = time.perf_counter()
        if count == self._options.max_frames:
            self.stop()
            self._flow.discard_rest()
        self._ended.set()


def _frames_ahead(source: Source) -> int:
    """Number of frames that are letterboxed ahead; see `PipelineOptions.ahead`."""
    return 2 if source.live and len(parts_of(source)) > 1 else 1


class _FrameQueue:
    """The frames of a `FrameFlow`, as the first model's stage takes them.

    Args:
        flow: of the frames.
        recognition: gets the frames with their detections; None for a model alone, whose frames are finished then.
    """

    def __init__(self, flow: FrameFlow, recognition: Recognition | None) -> None:
        self._flow, self._recognition = flow, recognition

    def take(self) -> Job | None:
        return self._flow.take()

    def picture_of(self, work: Job) -> FramePicture:
        return work.frame.picture

    def finish(self, work: Job, detections: Detections | None) -> None:
        if detections is None or self._recognition is None:
            self._flow.finish(work, detections)
        else:
            self._recognition.accept(work, detections)

    def ended(self) -> None:
        if self._recognition is not None:
            self._recognition.close()
