"""The pipeline as a whole, between stand-ins."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from typing_extensions import Self

from rkdeploy.device.runtime.protocol import Runtime
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.statistics import PipelineStats
from rkdeploy.errors import BackendError, RkdeployError, SourceError
from tests.device.stream.stand_ins import (
    CLASSES,
    SPEC,
    THRESHOLDS,
    WAIT_S,
    ListSink,
    StandInRuntime,
    StandInSource,
    frame,
)
from tests.threads import no_thread_stays

NOW = Backoff(0.0, 0.0)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    interval = sys.getswitchinterval()
    with no_thread_stays():
        yield
    assert sys.getswitchinterval() == interval


def run(
    source: StandInSource | Iterable[Frame],
    runtimes: Sequence[Runtime],
    *sinks: ListSink,
    **options: object,
) -> PipelineStats:
    """Run to the end; the final figures, also after an error is raised (see `ended`)."""
    opened = source if isinstance(source, StandInSource) else StandInSource(source)
    given = PipelineOptions(**{"backoff": NOW, "join_s": WAIT_S, **options})  # type: ignore[arg-type]
    with opened as frames:
        pipeline = Pipeline(opened, frames, runtimes, SPEC, THRESHOLDS, sinks, options=given)
        with pipeline:
            assert pipeline.wait(WAIT_S), "the pipeline hangs"
    return pipeline.stats()


def values(indices: Iterable[int]) -> list[list[int]]:
    return [[i % CLASSES] for i in indices]


@pytest.mark.parametrize("contexts", [1, 3])
def test_order_and_answers_survive_random_delays(contexts: int) -> None:
    """Every frame of a file reaches every sink, in order, with its own answer, however long each one takes."""
    rng = random.Random(0)
    delays = [rng.choice((0, 0, 0.001, 0.004)) for _ in range(CLASSES)]
    runtimes = [StandInRuntime(lambda value: time.sleep(delays[value])) for _ in range(contexts)]
    sinks = ListSink(), ListSink()
    stats = run(map(frame, range(300)), runtimes, *sinks)
    for sink in sinks:
        assert sink.indices == list(range(300))
        assert sink.class_ids == values(range(300))
    assert (stats.captured, stats.processed, stats.dropped, stats.failed) == (300, 300, 0, 0)
    assert all(runtime.calls > 0 and not runtime.is_open for runtime in runtimes)
    assert stats.stages.age.count == stats.stages.infer.count == stats.stages.capture.count == 300
    assert stats.stages.age.p50_ms >= stats.stages.infer.p50_ms > 0


def test_slow_sinks_of_a_file_hold_up_its_reading() -> None:
    """Nothing is lost and nothing piles up: the source is never more than a few frames ahead of the sinks."""
    sink = ListSink()
    lead = 0

    def frames() -> Iterator[Frame]:
        nonlocal lead
        for i in range(200):
            lead = max(lead, i - len(sink.indices))
            yield frame(i)

    stats = run(frames(), [StandInRuntime(), StandInRuntime()], sink)
    assert sink.indices == list(range(200))
    assert stats.dropped == 0
    # 2 waiting, 1 in the hand of the capture thread, 8 tickets for 4 slots, 1 being written
    assert lead <= 12


def test_the_newest_frame_of_a_camera_wins() -> None:
    """Frames that come while the network is busy are dropped but for the last, and counted."""
    busy, go_on = threading.Event(), threading.Event()

    def wait(_value: int) -> None:
        busy.set()
        assert go_on.wait(WAIT_S)

    def frames() -> Iterator[Frame]:
        yield frame(0)
        assert busy.wait(WAIT_S)
        yield from map(frame, range(1, 10))
        go_on.set()

    sink = ListSink()
    stats = run(StandInSource(frames(), live=True), [StandInRuntime(wait)], sink, ahead=0)
    assert sink.indices == [0, 9]
    assert sink.class_ids == [[0], [9]]
    assert (stats.captured, stats.processed, stats.dropped_before_network, stats.dropped) == (10, 2, 8, 8)


def test_slow_sinks_of_a_camera_hold_up_nobody() -> None:
    """While a sink is busy the network goes on; what the sink misses is dropped and counted before the sinks."""
    go_on = threading.Event()
    inferred = threading.Semaphore(0)
    writing = threading.Event()

    def write(_index: int) -> None:
        writing.set()
        assert go_on.wait(WAIT_S)

    def frames() -> Iterator[Frame]:
        yield frame(0)
        assert writing.wait(WAIT_S)
        inferred.acquire()
        for i in range(1, 10):
            yield frame(i)
            assert inferred.acquire(timeout=WAIT_S)  # with one context: the frame before it is decoded or finished
        yield frame(10)
        assert inferred.acquire(timeout=WAIT_S)
        go_on.set()

    sink = ListSink(write)
    runtime = StandInRuntime(lambda _: inferred.release())
    stats = run(StandInSource(frames(), live=True), [runtime], sink, ahead=0)
    assert runtime.calls == 11
    assert sink.indices[0] == 0
    assert sink.indices[-1] == 10
    assert stats.dropped_before_network == 0
    assert stats.dropped_before_sinks == 11 - len(sink.indices) >= 6


class FailingRuntime(StandInRuntime):
    """Fails on the calls with these numbers, from 1; `reopens`: whether it can be opened a second time."""

    def __init__(self, *calls: int, reopens: bool = True) -> None:
        super().__init__(self._fail)
        self._fails_on = calls
        self._reopens = reopens

    def __enter__(self) -> Self:
        if self.opened and not self._reopens:
            raise BackendError("rknn_init answered -6.", "Reboot.")
        return super().__enter__()

    def _fail(self, _value: int) -> None:
        if self.calls in self._fails_on:
            raise BackendError("rknn_run answered -1.")


def test_a_failed_context_is_rebuilt() -> None:
    """Only the third frame fails, without another frame's boxes; the context is closed and opened again."""
    broken, sink = FailingRuntime(3), ListSink()
    stats = run(map(frame, range(8)), [broken], sink)
    assert sink.indices == [0, 1, 3, 4, 5, 6, 7]
    assert sink.class_ids == values(sink.indices)
    assert (stats.failed, stats.contexts_rebuilt, stats.processed) == (1, 1, 7)
    assert stats.last_failure == "rknn_run answered -1."
    assert (broken.opened, broken.is_open, broken.calls) == (2, False, 8)


def test_one_of_three_contexts_fails_for_good() -> None:
    """The others go on without it: only the frame that it failed on is lost."""
    sink = ListSink()
    runtimes = [StandInRuntime(), FailingRuntime(1, reopens=False), StandInRuntime()]
    stats = run(map(frame, range(100)), runtimes, sink, backoff=Backoff(0.001, 0.002))
    assert stats.failed == 1
    assert len(sink.indices) == 99
    assert sink.indices == sorted(sink.indices)
    assert sink.class_ids == values(sink.indices)
    assert stats.last_failure == "rknn_init answered -6. Reboot."


@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("opens", [True, False])
def test_the_run_ends_when_all_contexts_keep_failing(contexts: int, opens: bool) -> None:
    """After the given number of failures in a row of every context, one error with the last cause ends the run."""
    sink = ListSink()
    runtimes = [FailingRuntime(*range(1, 1000), reopens=opens) for _ in range(contexts)]
    cause = "rknn_run answered -1" if opens else "rknn_init answered -6"
    endless = map(frame, itertools.count())
    with pytest.raises(BackendError, match=rf"failed 4 times in a row. The last failure: {cause}"):
        run(endless, runtimes, sink, max_failures=4)
    assert sink.indices == []
    assert not any(runtime.is_open for runtime in runtimes)


def test_an_open_failure_closes_what_is_open() -> None:
    """When the second context cannot be opened, the first is closed, and no thread is started."""

    class Unopenable(StandInRuntime):
        def __enter__(self) -> Self:
            raise BackendError("No core 1.")

    first = StandInRuntime()
    with pytest.raises(BackendError, match="No core 1"):
        run(map(frame, range(3)), [first, Unopenable()], ListSink())
    assert not first.is_open


def test_a_source_that_fails_midway() -> None:
    """Its error is the run's error."""

    def frames() -> Iterator[Frame]:
        yield from map(frame, range(20))
        raise SourceError("Cut off at frame 20.")

    runtime = StandInRuntime()
    with pytest.raises(SourceError, match="Cut off at frame 20"):
        run(frames(), [runtime], ListSink())
    assert not runtime.is_open


@pytest.mark.parametrize("error", [RkdeployError("Disk full."), BrokenPipeError(), ZeroDivisionError()])
@pytest.mark.parametrize("live", [False, True])
def test_a_sink_that_fails(error: Exception, live: bool) -> None:
    """Its exception comes out as it is, known failure or bug, and the sinks get no frame after it."""

    def fail(index: int) -> None:
        if index == 5:
            raise error

    sinks = ListSink(), ListSink(fail)
    frames = map(frame, itertools.count()) if not live else (frame(i % 6) for i in itertools.count())
    with pytest.raises(type(error)) as caught:
        run(StandInSource(frames, live=live), [StandInRuntime(), StandInRuntime()], *sinks)
    assert caught.value is error
    assert 5 not in sinks[1].indices


def test_a_frame_that_cannot_be_letterboxed() -> None:
    """A wrong frame is the source's error, not a failure of the context."""
    bad = Frame(np.zeros((4, 4, 2), np.uint8), "x", 1)
    with pytest.raises(SourceError, match="shape"):
        run([frame(0), bad], [StandInRuntime()], ListSink())


@pytest.mark.parametrize("live", [False, True])
def test_stop_finishes_what_is_under_way(live: bool) -> None:
    """After `stop`, every frame that was taken in has its result or is counted, and the sinks got whole frames."""
    sink = ListSink()
    source = StandInSource(map(frame, itertools.count()), live=live)
    with source as frames:
        runtimes = [StandInRuntime(), StandInRuntime()]
        pipeline = Pipeline(source, frames, runtimes, SPEC, THRESHOLDS, [sink])
        with pipeline:
            assert not pipeline.wait(0.02)
            pipeline.stop()
            assert pipeline.wait(WAIT_S)
    stats = pipeline.stats()
    assert source.stopped.is_set()
    assert stats.processed == len(sink.indices) > 0
    assert stats.captured == stats.processed + stats.dropped
    assert sink.class_ids == values(sink.indices)
    assert live or stats.dropped == 0


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_leaving_early_ends_everything(error: BaseException | None) -> None:
    """Leaving is a stop; the body's own exception is passed on."""
    source = StandInSource(map(frame, itertools.count()))
    runtime = StandInRuntime()
    raises = contextlib.nullcontext() if error is None else pytest.raises(KeyboardInterrupt)
    with (
        raises,
        source as frames,
        Pipeline(source, frames, [runtime], SPEC, THRESHOLDS, [ListSink()]),
    ):
        if error is not None:
            raise error
    assert not runtime.is_open


def test_a_stop_does_not_wait_for_a_broken_context() -> None:
    """While the only context waits an hour to be opened again, a stop ends the run at once; its frames failed."""
    failed = threading.Event()

    class Broken(StandInRuntime):
        def infer(self, image: np.ndarray) -> tuple[()]:  # type: ignore[type-arg]
            failed.set()
            raise BackendError("Gone.")

    source = StandInSource(map(frame, range(4)))
    with source as frames:
        options = PipelineOptions(backoff=Backoff(3600, 3600), join_s=WAIT_S)
        runtimes = [Broken()]
        pipeline = Pipeline(source, frames, runtimes, SPEC, THRESHOLDS, [], options=options)
        with pipeline:
            assert failed.wait(WAIT_S)
    stats = pipeline.stats()
    assert (stats.processed, stats.failed) == (0, stats.captured)


@pytest.mark.parametrize("live", [False, True])
def test_max_frames(live: bool) -> None:
    """The sinks get exactly that many frames; of a file no more are read."""
    sink = ListSink()
    stats = run(
        StandInSource(map(frame, itertools.count()), live=live),
        [StandInRuntime(), StandInRuntime()],
        sink,
        max_frames=7,
    )
    assert len(sink.indices) == stats.processed == 7
    assert stats.captured == stats.processed + stats.dropped
    if not live:
        assert sink.indices == list(range(7))
        assert stats.captured == 7


def test_an_empty_source() -> None:
    """No frame is a run, too."""
    stats = run([], [StandInRuntime()], ListSink())
    assert (stats.captured, stats.processed, stats.frames_per_second) == (0, 0, 0.0)


def test_a_thread_that_does_not_end_is_named() -> None:
    """A source that hangs in a driver makes an error after a while, not a hang."""
    release = threading.Event()

    def frames() -> Iterator[Frame]:
        yield frame(0)
        release.wait(WAIT_S)

    source = StandInSource(frames(), live=True)
    pipeline = Pipeline(
        source,
        source.frames,
        [StandInRuntime()],
        SPEC,
        THRESHOLDS,
        [],
        options=PipelineOptions(join_s=0.05),
    )
    with pytest.raises(RkdeployError, match="rkdeploy-capture did not end"), pipeline:
        pass
    release.set()
    for thread in pipeline._threads:
        thread.join(WAIT_S)


def test_figures_can_be_read_while_it_runs() -> None:
    """At any moment, from any thread, no frame is in two counts."""
    source = StandInSource(map(frame, range(400)), live=True)
    readings: list[PipelineStats] = []
    with source as frames:
        runtimes = [StandInRuntime(), StandInRuntime()]
        pipeline = Pipeline(source, frames, runtimes, SPEC, THRESHOLDS, [ListSink()])
        with pipeline:
            reader = threading.Thread(target=lambda: readings.extend(pipeline.stats() for _ in range(50)))
            reader.start()
            reader.join()
            assert pipeline.wait(WAIT_S)
    for stats in (*readings, pipeline.stats()):
        assert stats.processed + stats.failed + stats.dropped <= stats.captured
        assert stats.contexts == 2
    assert [stats.captured for stats in readings] == sorted(stats.captured for stats in readings)
