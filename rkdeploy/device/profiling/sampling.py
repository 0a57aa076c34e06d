"""Samples of clocks, temperatures and NPU load, taken while something else is measured."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.device.profiling.kernel_files import (
    ClockFiles,
    ThermalZone,
    clocks,
    cpu_seconds,
    load_average,
    npu_load_percent,
    resident_bytes,
    thermal_zones,
    throttling_devices,
)
from rkdeploy.device.profiling.profile_document import BoardConditions, ClockProfile, ProcessMemory, TemperatureProfile
from rkdeploy.device.stream.statistics import Latency

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

INTERVAL_S = 0.25
_MIN_RSS_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the board's state."""

    clocks: tuple[ClockFiles, ...]
    zones: tuple[ThermalZone, ...]
    throttled: tuple[str, ...]
    npu_load: tuple[int, ...] | None


def take_sample(sysroot: Path) -> Sample:
    """Read the board's state once."""
    return Sample(clocks(sysroot), thermal_zones(sysroot), throttling_devices(sysroot), npu_load_percent(sysroot))


class Sampler:
    """Takes samples in its own thread while it is entered, one per interval.

    Attributes:
        samples: taken so far; at least one after leaving.
    """

    def __init__(self, sysroot: Path, interval_s: float = INTERVAL_S) -> None:
        self.samples: list[Sample] = []
        self._sysroot = sysroot
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rkdeploy-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        # The last sample is taken at the end, with the clocks still up: short measurements also get one.
        while not self._over.wait(self._interval_s):
            self.samples.append(take_sample(self._sysroot))
        self.samples.append(take_sample(self._sysroot))


def mean_npu_load(samples: Sequence[Sample]) -> tuple[float, ...] | None:
    """Mean load of each NPU core in percent; None when no sample has one."""
    loads = [sample.npu_load for sample in samples if sample.npu_load is not None]
    if not loads:
        return None
    cores = min(map(len, loads))
    return tuple(float(np.mean([load[core] for load in loads])) for core in range(cores))


def conditions(
    before: Sample, samples: Sequence[Sample], busy_before: float | None, load: float | None
) -> BoardConditions:
    """Summary of the samples."""
    return BoardConditions(
        clocks=tuple(_clock(clock, samples) for clock in before.clocks),
        temperatures=tuple(_temperature(zone, samples) for zone in before.zones),
        throttled=tuple(dict.fromkeys(name for sample in samples for name in sample.throttled)),
        busy_before=busy_before,
        load_average=load,
        processors=len(os.sched_getaffinity(0)),
        samples=len(samples),
    )


def busy_share(sysroot: Path, seconds: float) -> tuple[float | None, float | None]:
    """Fraction of the processors, 0..1, in use while this thread sleeps, and the load average before."""
    load, begun = load_average(sysroot), cpu_seconds(sysroot)
    time.sleep(seconds)
    ended = cpu_seconds(sysroot)
    if begun is None or ended is None or ended[1] <= begun[1]:
        return None, load
    return min(1.0, max(0.0, (ended[0] - begun[0]) / (ended[1] - begun[1]))), load


def latency_of(seconds: Sequence[float] | NDArray[np.float64]) -> Latency:
    """Percentiles of times in seconds."""
    if len(seconds) == 0:
        return Latency()
    p50, p90, p99 = (float(value) for value in np.percentile(np.asarray(seconds), (50, 90, 99)) * 1e3)
    return Latency(len(seconds), p50, p90, p99)


class ResidentMemory:
    """Samples of this process's resident memory, frame by frame, in arrays that do not grow.

    Args:
        sysroot: folder that contains `proc`.
        capacity: largest number of samples.
    """

    def __init__(self, sysroot: Path, capacity: int) -> None:
        self._sysroot = sysroot
        self._frames = np.zeros(capacity, np.float64)
        self._bytes = np.zeros(capacity, np.float64)
        self._count = 0

    def sample(self, frame: int) -> None:
        """Take a sample after this frame."""
        resident = resident_bytes(self._sysroot)
        if resident is not None and self._count < len(self._frames):
            self._frames[self._count], self._bytes[self._count] = frame, resident
            self._count += 1

    def result(self) -> ProcessMemory | None:
        """Least-squares line through the samples; None when there are too few for one."""
        frames, sizes = self._frames[: self._count], self._bytes[: self._count]
        if self._count < _MIN_RSS_SAMPLES:
            return None
        slope, error = slope_with_error(frames, sizes)
        return ProcessMemory(
            first_bytes=int(sizes[0]),
            last_bytes=int(sizes[-1]),
            samples=self._count,
            frames=int(frames[-1] - frames[0]),
            slope_bytes_per_1000_frames=1000 * slope,
            slope_error_bytes_per_1000_frames=1000 * error,
        )


def slope_with_error(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], y: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> tuple[float, float]:
    """Slope of the least-squares line through at least three points, and its standard error.

    slope = Sxy / Sxx, error = sqrt(sum of squared residuals / (n - 2) / Sxx).
    """
    dx, dy = x - x.mean(), y - y.mean()
    spread = float(dx @ dx)
    if spread == 0:
        return 0.0, 0.0
    slope = float(dx @ dy) / spread
    rest = dy - slope * dx
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / spread))


def _clock(before: ClockFiles, samples: Sequence[Sample]) -> ClockProfile:
    during = [clock for sample in samples for clock in sample.clocks if clock.name == before.name]
    speeds = [clock.current_hz for clock in during if clock.current_hz is not None]
    limits = [clock.limit_hz for clock in (before, *during) if clock.limit_hz is not None]
    return ClockProfile(
        name=before.name,
        governor=before.governor,
        idle_hz=before.current_hz,
        lowest_hz=min(speeds, default=None),
        median_hz=int(median(speeds)) if speeds else None,
        limit_hz=min(limits, default=None),
        highest_hz=before.highest_hz,
        governor_path=f"/{before.governor_path}",
    )


def _temperature(before: ThermalZone, samples: Sequence[Sample]) -> TemperatureProfile:
    during = [zone.celsius for sample in samples for zone in sample.zones if zone.name == before.name]
    return TemperatureProfile(before.name, before.celsius, max((before.celsius, *during)), before.throttles_at_celsius)
