"""Figures of a running pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.statistics import STAGES, Latency, StageTimer


def test_percentiles_are_those_of_the_last_frames() -> None:
    """p50, p90 and p99 in milliseconds over the last 1,024 times of each stage; nothing grows."""
    recorder = StageTimer()
    for i in range(3000):
        recorder.add("infer", i / 1000)
    latency = recorder.stages().infer
    assert latency.count == 1024
    expected = np.percentile(np.arange(3000 - 1024, 3000), (50, 90, 99))
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms) == pytest.approx(tuple(expected))
    assert recorder.stages().decode == Latency()
    assert recorder._seconds.shape == (len(STAGES), 1024)


def test_the_rate_is_of_the_last_five_seconds() -> None:
    """Steady frames give their rate, also in the first second; when they stop, it falls to nothing."""
    recorder = StageTimer()
    assert recorder.frames_per_second(0.0) == 0.0
    for i in range(11):
        recorder.add_processed(100 + i / 20)
    assert recorder.frames_per_second(100.5) == pytest.approx(20)
    for i in range(11, 400):
        recorder.add_processed(100 + i / 20)
    assert recorder.frames_per_second(120.0) == pytest.approx(20, rel=0.01)
    assert recorder.frames_per_second(122.5) == pytest.approx(10, rel=0.02)
    assert recorder.frames_per_second(130.0) == 0.0


def test_a_high_rate_is_right_too() -> None:
    """More frames in the window than are kept still give their rate."""
    recorder = StageTimer()
    for i in range(20_000):
        recorder.add_processed(i / 4000)
    assert recorder.frames_per_second(5.0) == pytest.approx(4000, rel=0.01)


def test_backoff_doubles_up_to_its_limit() -> None:
    """0.5, 1, 2, 4 and then the limit, however often."""
    backoff = Backoff(0.5, 5.0)
    assert [backoff.delay_s(n) for n in (1, 2, 3, 4, 5, 10_000)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
