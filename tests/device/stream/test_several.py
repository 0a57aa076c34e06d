"""Several sources as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from types import TracebackType

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.flow import FlowCounts, FrameFlow
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sources.live import LiveCapture
from rkdeploy.device.stream.sources.several import FileSources, LiveSources, combined, parts_of
from rkdeploy.errors import SourceError
from tests.device.stream.stand_ins import WAIT_S, frame


class Files:
    """So many frames; counts how often it is open."""

    def __init__(self, text: str, count: int) -> None:
        self.text = text
        self.frame_count: int | None = count
        self.frames_per_second: float | None = 25.0
        self.live, self.reconnects, self.open = False, 0, 0

    def __enter__(self) -> Iterator[Frame]:
        self.open += 1
        return (frame(n) for n in range(self.frame_count or 0))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open -= 1

    def stop(self) -> None:
        """Nothing waits."""


class Camera(LiveCapture):
    """Gives `count` frames and then hangs in a read until it is stopped; a recording when `live` is false."""

    def __init__(self, text: str, count: int, *, live: bool = True, fails: bool = False) -> None:
        super().__init__(text, cv2.VideoCapture)
        self.count, self.live, self.fails, self.open = count, live, fails, 0
        self.ended = threading.Event()

    def __enter__(self) -> Iterator[Frame]:
        if self.fails:
            raise SourceError(f"{self.text} cannot be opened.")
        self.open += 1
        return self._given()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open -= 1

    def stop(self) -> None:
        self.ended.set()

    def _given(self) -> Iterator[Frame]:
        for index in range(self.count):
            yield Frame(np.zeros((4, 4, 3), np.uint8), self.text, index)
        assert self.ended.wait(WAIT_S)


def test_files_come_one_after_the_other() -> None:
    """Each is open only while it is read, and its frames say which one they are of."""
    parts = [Files("a", 2), Files("b", 1)]
    source = combined(parts)
    assert (source.frame_count, source.live, source.text, parts_of(source)) == (3, False, "a and 1 more", tuple(parts))
    with source as frames:
        found = [(one.origin, one.index, parts[0].open, parts[1].open) for one in frames]
    assert found == [(0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1)]
    assert [part.open for part in parts] == [0, 0]


def test_a_stopped_run_opens_no_further_file() -> None:
    """The frames end after the one that is being read."""
    parts = [Files("a", 1), Files("b", 1)]
    with FileSources(parts) as frames:
        assert next(frames).origin == 0
        source = FileSources(parts)
        with source as others:
            source.stop()
            assert list(others) == []


def test_one_source_is_itself() -> None:
    """Nothing is put around a single one."""
    one = Files("a", 1)
    assert combined([one]) is one
    assert parts_of(one) == (one,)


def test_cameras_are_read_side_by_side() -> None:
    """All their frames come, each camera's in order, though none of them ends; stop ends them."""
    cameras = [Camera("left", 3), Camera("right", 2)]
    source = combined(cameras)
    assert source.live
    with source as frames:
        found = [next(frames) for _ in range(5)]
        source.stop()
        assert list(frames) == []
    assert [one.index for one in found if one.origin == 0] == [0, 1, 2]
    assert [one.source for one in found if one.origin == 1] == ["right", "right"]
    assert [camera.open for camera in cameras] == [0, 0]


def test_frames_that_are_not_taken_do_not_pile_up() -> None:
    """Each camera is read when its last frame was taken, so at most one of each waits; a stop ends the reading."""
    read: Counter[str] = Counter()

    class Quick(Camera):
        def _given(self) -> Iterator[Frame]:
            for index in range(1000):
                read[self.text] += 1
                yield frame(index)

    source = LiveSources([Quick("left", 0), Quick("right", 0)])
    with source as frames:
        taken = [next(frames) for _ in range(10)]
        assert sum(read.values()) <= len(taken) + 2
    assert not any(thread.is_alive() for thread in source._threads)
    assert len({one.origin for one in taken}) == 2


def test_what_cannot_be_opened_closes_the_others() -> None:
    """The error is the camera's own; a recording among cameras is refused, a file too."""
    first = Camera("left", 1)
    for other, said in (
        (Camera("right", 1, fails=True), "cannot be opened"),
        (Camera("r", 1, live=False), "recording"),
    ):
        with pytest.raises(SourceError, match=said), LiveSources([first, other]):
            pass
        assert first.open == 0
    with pytest.raises(SourceError, match="cannot take both"):
        combined([first, Files("a", 1)])


def test_an_error_in_a_camera_is_raised_where_the_frames_are_taken() -> None:
    """A thread's failure is the run's."""

    class Broken(Camera):
        def _given(self) -> Iterator[Frame]:
            yield from ()
            raise SourceError("a frame that is too large")

    with LiveSources([Camera("left", 0), Broken("right", 0)]) as frames, pytest.raises(SourceError, match="too large"):
        next(frames)


def test_a_waiting_frame_is_replaced_by_its_own_cameras_next_one() -> None:
    """A fast camera neither pushes out a slow one's frame nor loses its turn; drops are counted for each."""
    flow = FrameFlow(live=True, tickets=4, waiting=1, ready=1)
    for index, origin in ((0, 0), (0, 1), (1, 0), (2, 0)):
        assert flow.put(Frame(np.zeros((1, 1, 3), np.uint8), "x", index, None, origin), 0.0)
    taken = [job.frame for job in (flow.take(), flow.take()) if job is not None]
    assert [(one.origin, one.index) for one in taken] == [(0, 2), (1, 0)]
    assert flow.counts().dropped_before_network == 2
    assert flow.counts_by_origin() == {0: FlowCounts(3, 0, 0, 2, 0), 1: FlowCounts(1, 0, 0, 0, 0)}


def test_a_camera_that_comes_back_catches_up_on_a_few_turns() -> None:
    """After 100 turns without it, it has the next 8 and one more, and then every second one."""
    flow = FrameFlow(live=True, tickets=2, waiting=1, ready=1)
    order = []
    for turn in range(120):
        for origin in (0, 1) if turn >= 100 else (0,):
            flow.put(Frame(np.zeros((1, 1, 3), np.uint8), "x", turn, None, origin), 0.0)
        job = flow.take()
        assert job is not None
        order.append(job.frame.origin)
        flow.finish(job, Detections.empty())
        assert flow.deliver() is not None
    assert order[:100] == [0] * 100
    assert sum(order[100:110]) == 9
    assert sum(order[110:]) == 5


def test_cameras_take_turns_whatever_their_rates() -> None:
    """Four cameras that are each faster than the network get the same number of frames, the newest of each."""
    flow = FrameFlow(live=True, tickets=2, waiting=1, ready=1)
    sent, taken = Counter[int](), Counter[int]()
    for _ in range(40):
        for origin, frames in ((0, 3), (1, 1), (2, 2), (3, 1)):
            for _ in range(frames):
                assert flow.put(Frame(np.zeros((1, 1, 3), np.uint8), "x", sent[origin], None, origin), 0.0)
                sent[origin] += 1
        job = flow.take()
        assert job is not None
        assert job.frame.index == sent[job.frame.origin] - 1
        taken[job.frame.origin] += 1
        flow.finish(job, Detections.empty())
        assert flow.deliver() is not None
    assert taken == {0: 10, 1: 10, 2: 10, 3: 10}
