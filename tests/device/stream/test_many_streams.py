"""Several live sources in one pipeline: one that is lost does not slow the others, and each has figures of its own."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.sources.live import LiveCapture
from rkdeploy.device.stream.sources.several import combined
from rkdeploy.device.stream.statistics import StageTimer
from rkdeploy.errors import SourceError
from tests.device.stream.stand_ins import SPEC, THRESHOLDS, WAIT_S, ListSink, StandInRuntime

PERIOD_S = 0.01


class Capture:
    """A capture of a frame every 10 ms; after `count` of them a read blocks for a while, and gives nothing.

    Args:
        count: frames before it is lost; None for never.
        blocks_s: how long a read of the lost one takes.
    """

    def __init__(self, count: int | None = None, blocks_s: float = 0.0) -> None:
        self._left, self._blocks_s = count, blocks_s

    def get(self, _property: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        if self._left == 0:
            time.sleep(self._blocks_s)
            return False, None
        self._left = None if self._left is None else self._left - 1
        time.sleep(PERIOD_S)
        return True, np.full((32, 32, 3), 7, np.uint8)

    def release(self) -> None:
        """Nothing is held."""


class LostCamera:
    """Opens a capture that is lost after 5 frames; then fails twice, each time slowly; then one that stays."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self._opened = 0

    def __call__(self) -> Any:
        self._opened += 1
        if self._opened == 1:
            return Capture(5, 0.2)
        time.sleep(0.1)
        if self._opened < 4:
            raise SourceError("The camera does not answer.")
        self.back.set()
        return Capture()


def test_a_lost_stream_does_not_slow_the_others() -> None:
    """While one of four blocks in a read and cannot be opened, the others keep their rate; then it comes back."""
    lost = LostCamera()
    quick = Backoff(0.01, 0.01)
    parts = [LiveCapture(f"camera {n}", lambda: cast("Any", Capture())) for n in range(3)]
    source = combined([*parts, LiveCapture("lost", lost, backoff=quick)])
    with source as frames, Pipeline(source, frames, [StandInRuntime()], SPEC, THRESHOLDS, [ListSink()]) as pipeline:
        started = time.perf_counter()
        assert lost.back.wait(WAIT_S)
        seconds = time.perf_counter() - started
        at_loss = {one.name: one for one in pipeline.stats().sources}
        while pipeline.stats().sources[3].captured == at_loss["lost"].captured:
            assert not pipeline.wait(0.01)
    for part in parts:
        assert at_loss[part.text].processed >= 0.7 * (seconds / PERIOD_S) / 1.5  # a sleep takes up to half longer
        assert at_loss[part.text].reconnects == 0
    stats = pipeline.stats()
    assert [one.name for one in stats.sources] == ["camera 0", "camera 1", "camera 2", "lost"]
    assert stats.sources[3].reconnects == stats.reconnects == 1
    assert at_loss["lost"].processed <= 5 < stats.sources[3].captured
    for one in stats.sources:
        assert one.captured == one.processed + one.failed + one.dropped
    assert stats.captured == sum(one.captured for one in stats.sources)
    assert stats.processed == sum(one.processed for one in stats.sources)


def test_the_rate_of_each_source() -> None:
    """Two sources share a timer: one brings 10 frames per second, the other 30, together 40."""
    timer = StageTimer()
    for tenth in range(200):
        timer.add_processed(tenth / 10, 0)
        for third in range(3):
            timer.add_processed((tenth + third / 3) / 10, 1)
    now = 20.0
    assert timer.frames_per_second(now, 0) == pytest.approx(10, abs=0.3)
    assert timer.frames_per_second(now, 1) == pytest.approx(30, abs=0.3)
    assert timer.frames_per_second(now) == pytest.approx(40, abs=0.5)
    assert timer.frames_per_second(now, 2) == 0
