"""Chains in the pipeline and for single images, between stand-ins.

The detector finds as many objects as the frame's index says, modulo 4; the recognizer answers with the gray value of
the crop, so that an answer for another frame shows.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.device.chain.crop_rule import CropRule
from rkdeploy.device.chain.recognizer import Recognizer
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.chain_pool import ChainPool
from rkdeploy.device.stream.detector_pool import DetectorPool
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.statistics import PipelineStats
from rkdeploy.errors import BackendError
from tests.device.stream.stand_ins import CLASSES, SPEC, THRESHOLDS, WAIT_S, StandInRuntime, StandInSource, frame
from tests.threads import no_thread_stays

OBJECTS = replace(SPEC, class_names=("plate", "face"), outputs=(replace(SPEC.outputs[0], shape=(1, 7, 2, 2)),))
"""Contract of the detector: 10 x 10 pixels around the middle of each cell, the first one a plate, others faces."""


class CountedObjects:
    """Finds `value % 4` objects in a picture of that gray value."""

    name = "stand-in"
    figures_from = "a stand-in"
    notes: tuple[str, ...] = ("detector",)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        count = int(image[0, 16, 16, 0]) % 4
        values = np.zeros((1, 7, 2, 2), np.float32)
        values[0, 4:] = -20.0
        for i in range(count):
            values[0, (4, 5 if i == 0 else 6), i // 2, i % 2] = 10.0 - i  # a score each, best first
        return (HeadTensor(values),)


class NestedSink:
    """Keeps what each frame's objects were answered."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.answers: list[list[list[int] | None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        self.indices.append(frame.index)
        self.answers.append(answers(detections))


def answers(detections: Detections) -> list[list[int] | None]:
    """For each object the classes that its only recognizer found; None where it has no answer."""
    assert detections.nested is not None
    return [None if one is None else one.detections.class_ids.tolist() for (one,) in detections.nested]


def recognizer(runtimes: Sequence[StandInRuntime], rule: CropRule | None = None) -> Recognizer:
    return Recognizer("values", SPEC, THRESHOLDS, runtimes, rule or CropRule())


def run(
    frames: Iterable[Frame],
    recognizers: Sequence[Recognizer],
    sink: NestedSink,
    *,
    contexts: int = 2,
    **options: object,
) -> PipelineStats:
    source = StandInSource(frames)
    given = PipelineOptions(**{"backoff": Backoff(0.0, 0.0), "join_s": WAIT_S, **options})  # type: ignore[arg-type]
    with source as opened:
        runtimes = [CountedObjects() for _ in range(contexts)]
        pipeline = Pipeline(
            source, opened, runtimes, OBJECTS, THRESHOLDS, [sink], recognizers=recognizers, options=given
        )
        with pipeline:
            assert pipeline.wait(WAIT_S), "the pipeline hangs"
    return pipeline.stats()


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    with no_thread_stays():
        yield


def expected(i: int) -> list[list[int]]:
    """Every object of frame `i` has the frame's gray value."""
    return [[i % CLASSES]] * (i % CLASSES % 4)


def test_every_object_gets_its_own_answer_in_order() -> None:
    """However long each crop takes: frames stay in order, each with its answers; those without objects have none."""
    rng = random.Random(0)
    delays = [rng.choice((0, 0, 0.001, 0.003)) for _ in range(CLASSES)]
    runtimes = [StandInRuntime(lambda value: time.sleep(delays[value])) for _ in range(3)]
    sink = NestedSink()
    stats = run(map(frame, range(200)), [recognizer(runtimes)], sink)
    assert sink.indices == list(range(200))
    assert sink.answers == [expected(i) for i in range(200)]
    (one,) = stats.recognizers
    assert (one.crops, one.failed, one.left_out, one.contexts) == (300, 0, 0, 3)
    assert one.stages.infer.count == 300
    assert all(runtime.calls and not runtime.is_open for runtime in runtimes)


def test_crops_of_one_frame_run_side_by_side() -> None:
    """Three objects of one frame are on three contexts at a time."""
    together = threading.Barrier(3, timeout=WAIT_S)
    sink = NestedSink()
    run([frame(3)], [recognizer([StandInRuntime(lambda _value: together.wait()) for _ in range(3)])], sink)
    assert sink.answers == [expected(3)]


def test_the_detector_goes_on_while_crops_are_read() -> None:
    """The first frame's crop is answered only after later frames were detected."""
    detected = threading.Event()

    def wait(value: int) -> None:
        assert value != 1 or detected.wait(WAIT_S)

    def frames() -> Iterator[Frame]:
        yield from map(frame, range(1, 4))
        yield frame(4)  # asked for when the first ones are on their way
        detected.set()

    sink = NestedSink()
    run(frames(), [recognizer([StandInRuntime(wait)])], sink)
    assert sink.indices == [1, 2, 3, 4]


def test_a_failed_crop_is_not_the_loss_of_its_frame() -> None:
    """The other objects of the frame keep their answers, and the context is opened again."""
    failed = threading.Lock()

    def fail_once(_value: int) -> None:
        if failed.acquire(blocking=False):
            raise BackendError("rknn_run answered -1.")

    runtime, sink = StandInRuntime(fail_once), NestedSink()
    stats = run(map(frame, range(8)), [recognizer([runtime])], sink, contexts=1)  # so that frame 1 has the first crop
    assert sink.indices == list(range(8))
    assert sink.answers[1] == [None]
    assert sink.answers[2:] == [expected(i) for i in range(2, 8)]
    (one,) = stats.recognizers
    assert (one.crops, one.failed, one.contexts_rebuilt, stats.failed) == (11, 1, 1, 0)
    assert "rknn_run" in stats.last_failure
    assert runtime.opened == 2


def test_a_recognizer_that_always_fails_ends_the_run() -> None:
    """As a detector does; nothing hangs, and the threads end."""

    def fail(_value: int) -> None:
        raise BackendError("No core answers.", "Restart the board.")

    with pytest.raises(BackendError, match="The only context has failed 5 times"):
        run(map(frame, range(1, 400)), [recognizer([StandInRuntime(fail)])], NestedSink())


def test_classes_and_the_limit_choose_the_crops() -> None:
    """Two recognizers: one of plates, one of all objects but two at most; what is left out is counted."""
    plates = recognizer([StandInRuntime()], CropRule(class_ids=frozenset({0})))
    two = recognizer([StandInRuntime()], CropRule(limit=2))
    seen: list[Detections] = []

    class Keep(NestedSink):
        def write(self, frame: Frame, detections: Detections) -> None:
            seen.append(detections)

    stats = run([frame(3), frame(4)], [plates, two], Keep())
    nested = seen[0].nested
    assert nested is not None
    assert [[one is not None for one in both] for both in nested] == [[True, True], [False, True], [False, False]]
    assert seen[1].nested == ()
    assert [(one.crops, one.left_out) for one in stats.recognizers] == [(1, 0), (2, 1)]


def test_slow_recognizers_hold_up_the_reading() -> None:
    """Queues are bounded: a file is never read far ahead of the answers."""
    sink, lead = NestedSink(), 0

    def frames() -> Iterator[Frame]:
        nonlocal lead
        for i in range(3, 243, 4):  # three objects each
            lead = max(lead, (i - 3) // 4 - len(sink.indices))
            yield frame(i)

    run(frames(), [recognizer([StandInRuntime(lambda _value: time.sleep(0.001))])], sink, contexts=1)
    assert len(sink.indices) == 60
    # 2 waiting, 1 with the capture thread, 3 slots of the detector, 3 crops under way and 6 to 8 that wait, 1 written
    assert lead <= 12


def test_max_frames_and_stop_leave_nothing_behind() -> None:
    """The run ends after so many frames, though crops of later ones are under way."""
    sink = NestedSink()
    stats = run(map(frame, range(3, 4000)), [recognizer([StandInRuntime(), StandInRuntime()])], sink, max_frames=20)
    assert sink.indices == list(range(3, 23))
    assert stats.processed == 20


def chain_pool(before: Callable[[int], object] | None = None, contexts: int = 2) -> ChainPool:
    runtimes = [StandInRuntime(before) for _ in range(contexts)]
    return ChainPool(DetectorPool([CountedObjects()], OBJECTS, THRESHOLDS), [recognizer(runtimes)])


def test_single_images_give_the_same() -> None:
    """Crops are spread over the contexts; an image without objects runs no recognizer."""
    together = threading.Barrier(2, timeout=WAIT_S)
    pool = chain_pool(lambda value: together.wait() if value == 2 else None)
    for value in (0, 1, 2):
        assert answers(pool(frame(value).image)) == expected(value)
    assert pool.notes == ("detector",)
    pool.close()
    with pytest.raises(BackendError, match="closed"):
        pool(frame(1).image)


def test_a_single_image_keeps_what_did_not_fail() -> None:
    """One failed crop has no answer; when all fail, the model's failure is raised."""
    calls: list[int] = []

    def fail_first(value: int) -> None:
        calls.append(value)
        if len(calls) == 1 or value == 5:
            raise BackendError("rknn_run answered -1.")

    pool = chain_pool(fail_first, contexts=1)
    assert answers(pool(frame(2).image)) == [None, [2]]
    with pytest.raises(BackendError, match="rknn_run"):
        pool(frame(5).image)
    pool.close()
