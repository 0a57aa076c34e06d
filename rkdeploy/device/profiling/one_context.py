"""Times of the stages with one context, one frame after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.profiling.profile_document import CoreTiming, Missing, ProcessMemory, Stages
from rkdeploy.device.profiling.sampling import ResidentMemory, latency_of
from rkdeploy.device.runtime.protocol import MeasuredRuntime
from rkdeploy.errors import BackendError
from rkdeploy.images.fit import image_fit
from rkdeploy.option import MEASURE, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.profiling.input_frames import Images
    from rkdeploy.device.runtime.protocol import MemorySize, Runtime

_RSS_SAMPLES = 256
_CORE_FRAMES = 30


@dataclass(frozen=True, slots=True)
class MeasureLimits:
    """Length of one measurement: it ends after a number of frames or of seconds, whichever comes first.

    Attributes:
        frames: at most; at least one is measured.
        seconds: at most.
        warmup: frames before that, which are not measured; fewer if they take a quarter of `seconds`.
    """

    frames: Annotated[
        int,
        Option("--frames", "Maximum number of frames of each measurement.", MEASURE, low=1, high=1_000_000, often=True),
    ] = 200
    seconds: Annotated[
        float,
        Option(
            "--seconds", "Longest duration of each measurement in seconds.", MEASURE, low=0.1, high=86_400, often=True
        ),
    ] = 10.0
    warmup: Annotated[
        int,
        Option("--warmup", "Number of frames before each measurement, not measured.", MEASURE, low=1, high=10_000),
    ] = 20


@dataclass(frozen=True, slots=True)
class OneContext:
    """Figures of one context; a None has its reason in `missing`."""

    stages: Stages
    process_memory: ProcessMemory | None
    npu_memory: MemorySize | None
    missing: tuple[Missing, ...]


def measure_stages(
    runtime: Runtime, spec: ModelSpec, thresholds: Thresholds, images: Images, limits: MeasureLimits, sysroot: Path
) -> OneContext:
    """Letterbox, infer and decode frames one by one.

    Args:
        runtime: open.
        spec: contract of the model.
        thresholds: for the decode.
        images: (H, W, 3) uint8 BGR each; repeated.
        limits: length of the measurement.
        sysroot: folder that contains `proc`.

    Raises:
        BackendError: when the runtime fails on a frame.
    """
    measured = _Frames(runtime, spec, thresholds, images, limits)
    why_no_npu_time = measured.warm_up()
    resident = ResidentMemory(sysroot, _RSS_SAMPLES)
    cpu_begun = time.process_time()
    measured.run(resident)
    cpu_s = time.process_time() - cpu_begun
    process_memory = resident.result()
    npu_memory, why_no_memory = _npu_memory(runtime)
    reasons = (
        ("stages.npu", why_no_npu_time),
        ("process_memory", "" if process_memory is not None else _why_no_slope(measured.count)),
        ("npu_memory", why_no_memory),
    )
    return OneContext(
        stages=measured.stages(cpu_s),
        process_memory=process_memory,
        npu_memory=npu_memory,
        missing=tuple(Missing(figure, reason) for figure, reason in reasons if reason),
    )


class _Frames:
    """Frames run one by one, and the times of their stages.

    Args:
        runtime: open.
        spec: contract of the model.
        thresholds: for the decode.
        images: (H, W, 3) uint8 BGR each; repeated.
        limits: length of the measurement.

    Attributes:
        count: frames measured so far.
    """

    def __init__(
        self, runtime: Runtime, spec: ModelSpec, thresholds: Thresholds, images: Images, limits: MeasureLimits
    ) -> None:
        self.count = 0
        self._runtime, self._images, self._limits = runtime, images, limits
        self._fit, self._postprocess = image_fit(spec.input), Postprocessor(spec, thresholds)
        # Filled, so that its pages are allocated: data collected in the loop would count as growth of the process.
        self._times = np.full((limits.frames, 5), np.nan)
        self._detections = 0
        self._npu_time, self._why_no_npu_time = _npu_clock(runtime)

    def warm_up(self) -> str:
        """Run frames that are not measured.

        Returns:
            Why the time of the network alone is missing; empty if it is measured.
        """
        warm_by = time.perf_counter() + self._limits.seconds / 4
        for number in range(max(1, self._limits.warmup)):
            self._frame(number)
            if number == 0:
                self._try_npu_time()
            if time.perf_counter() >= warm_by:
                break
        return self._why_no_npu_time

    def run(self, resident: ResidentMemory) -> None:
        """Measure, and sample the process's memory over the whole run."""
        every = -(-self._limits.frames // _RSS_SAMPLES)  # rounded up
        deadline = time.perf_counter() + self._limits.seconds
        for number in range(self._limits.frames):
            self._times[number, :4], found = self._frame(number)
            self._detections += found
            self.count = number + 1
            if self._npu_time is not None:
                self._times[number, 4] = self._npu_time() / 1e6
            if number % every == 0:
                resident.sample(number)
            if time.perf_counter() >= deadline:
                break

    def stages(self, cpu_s: float) -> Stages:
        """The figures.

        Args:
            cpu_s: processor time of the run in seconds.
        """
        preprocess, infer, decode, total, npu = (latency_of(self._times[: self.count, column]) for column in range(5))
        return Stages(
            preprocess,
            infer,
            decode,
            total,
            npu=None if self._npu_time is None else npu,
            detections_per_frame=self._detections / self.count,
            cpu_ms_per_frame=1e3 * cpu_s / self.count,
        )

    def _frame(self, number: int) -> tuple[tuple[float, float, float, float], int]:
        """Seconds of preprocessing, network, decode and all, and the number of detections."""
        image, clock = self._images[number % len(self._images)], time.perf_counter
        begun = clock()
        boxed = self._fit(image)
        prepared = clock()
        tensors = self._runtime.infer(boxed.image)
        inferred = clock()
        found = self._postprocess(tensors, boxed.transform)
        done = clock()
        return (prepared - begun, inferred - prepared, done - inferred, done - begun), len(found.scores)

    def _try_npu_time(self) -> None:
        """Ask for the network's time once: a runtime that cannot tell it says so on the first frame."""
        if self._npu_time is None:
            return
        try:
            self._npu_time()
        except BackendError as error:
            self._npu_time, self._why_no_npu_time = None, error.message


def _why_no_slope(frames: int) -> str:
    return f"{frames} frames are too few for a slope, or /proc/self/statm does not exist"


def measure_cores(
    runtimes: Sequence[Runtime], cores: Sequence[int], image: NDArray[np.uint8]
) -> tuple[CoreTiming, ...]:
    """Measure the network on one core after the other.

    Args:
        runtimes: open, one per core.
        cores: numbers of the cores.
        image: a network input, (1, height, width, 3) uint8.
    """
    timings = []
    for core, runtime in zip(cores, runtimes, strict=True):
        runtime.infer(image)
        seconds = []
        for _ in range(_CORE_FRAMES):
            begun = time.perf_counter()
            runtime.infer(image)
            seconds.append(time.perf_counter() - begun)
        timings.append(CoreTiming(core, latency_of(seconds)))
    return tuple(timings)


def _npu_clock(runtime: Runtime) -> tuple[Callable[[], int] | None, str]:
    """Function that returns the network's time of the last run in microseconds; or None and the reason."""
    if isinstance(runtime, MeasuredRuntime):
        return runtime.run_duration_us, ""
    return None, f"the backend {runtime.name} does not time the network apart from its call"


def _npu_memory(runtime: Runtime) -> tuple[MemorySize | None, str]:
    if not isinstance(runtime, MeasuredRuntime):
        return None, f"the backend {runtime.name} does not say what a context occupies"
    try:
        return runtime.memory_size(), ""
    except BackendError as error:
        return None, error.message
