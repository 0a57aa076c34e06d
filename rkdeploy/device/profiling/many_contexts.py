"""Several contexts at once: frames per second of the whole pipeline, and of the network alone."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rkdeploy.device.profiling.profile_document import Throughput
from rkdeploy.device.profiling.sampling import Sampler, mean_npu_load
from rkdeploy.device.runtime.backends import open_runtimes
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.profiling.input_frames import Images
    from rkdeploy.device.profiling.one_context import MeasureLimits
    from rkdeploy.device.profiling.sampling import Sample
    from rkdeploy.device.runtime.protocol import Runtime, RuntimeOptions


_TICK_S = 0.02


class TimedContexts:
    """Opener of the contexts of a measurement.

    Args:
        backend: name of the backend.
        bundle: bundle with the model to run.
        cores: NPU core of each; None for a backend without cores, and to leave a single context to the runtime.
        count: number of contexts.
        options: for the backends that they concern.
    """

    def __init__(
        self, backend: str, bundle: Bundle, cores: tuple[int, ...] | None, count: int, options: RuntimeOptions
    ) -> None:
        self.cores = cores
        self.count = count
        self._backend, self._bundle, self._options = backend, bundle, options

    def runtimes(self) -> list[Runtime]:
        """All runtimes, not yet entered."""
        return open_runtimes(self._backend, self._bundle, self._numbers(), self._options)

    def _numbers(self) -> tuple[int, ...] | None:
        if self.cores is not None:
            return self.cores
        # A backend without cores makes as many copies as there are numbers; a single context is left to the runtime.
        return None if self.count == 1 else tuple(range(self.count))


def measure_throughput(
    contexts: TimedContexts,
    bundle: Bundle,
    thresholds: Thresholds,
    images: Images,
    network_input: NDArray[np.uint8],
    limits: MeasureLimits,
    sysroot: Path,
) -> tuple[Throughput, list[Sample]]:
    """Run the pipeline and then the network alone, with the given contexts.

    Args:
        contexts: opener of the contexts.
        bundle: bundle with the model to run.
        thresholds: for the decode.
        images: (H, W, 3) uint8 BGR each; repeated.
        network_input: (1, height, width, 3) uint8.
        limits: length of each of the two measurements.
        sysroot: folder with the board's files.

    Returns:
        The figures, and samples of the board's state during the measurement.

    Raises:
        BackendError: when a context cannot be opened or the runtime failed.
    """
    warmup = limits.warmup + contexts.count
    frames = limits.frames + warmup
    source, meter = _Repeated(images, frames), _Meter(warmup, limits.seconds / 4)
    pipeline = Pipeline(source, iter(source), contexts.runtimes(), bundle.spec, thresholds, [meter])
    with pipeline, Sampler(sysroot) as sampler:
        deadline = time.perf_counter() + 2 * limits.seconds  # includes the warm-up, which may be long
        while not pipeline.wait(_TICK_S) and time.perf_counter() < deadline:
            if meter.warm.is_set():
                deadline = min(deadline, meter.begun_s + limits.seconds)
        pipeline.stop()
    stats = pipeline.stats()
    network_per_second = _network_rate(contexts, network_input, limits)
    load = mean_npu_load(sampler.samples)
    figures = Throughput(
        contexts=contexts.count,
        cores=contexts.cores,
        frames=meter.count,
        failed=stats.failed,
        frames_per_second=meter.frames_per_second(),
        network_per_second=network_per_second,
        infer=stats.stages.infer,
        cpu_ms_per_frame=meter.cpu_ms_per_frame(),
        npu_load_percent=load,
    )
    return figures, sampler.samples


def _network_rate(contexts: TimedContexts, image: NDArray[np.uint8], limits: MeasureLimits) -> float:
    """Inferences per second of all contexts together, each in its own thread, on a prepared input."""
    share = max(1, limits.frames // contexts.count)
    start = threading.Barrier(contexts.count)
    spans: list[tuple[float, float, int]] = []
    failures: list[BaseException] = []

    def work(runtime: Runtime) -> None:
        try:
            runtime.infer(image)
            start.wait()
            begun, count = time.perf_counter(), 0
            deadline = begun + limits.seconds
            while count < share and time.perf_counter() < deadline and not failures:
                runtime.infer(image)
                count += 1
            spans.append((begun, time.perf_counter(), count))
        except threading.BrokenBarrierError:
            pass  # another one failed
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failures.append(error)
            start.abort()

    with ExitStack() as stack:
        runtimes = [stack.enter_context(runtime) for runtime in contexts.runtimes()]
        threads = [threading.Thread(target=work, args=(runtime,), daemon=True) for runtime in runtimes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    # The sum of each thread's own rate: a total would include the time in which only the slowest thread still works.
    return sum(count / (ended - begun) for begun, ended, count in spans if ended > begun)


class _Repeated:
    """A source that repeats a few frames and waits for the pipeline."""

    text = "the profile's frames"
    frames_per_second: float | None = None
    live = False
    reconnects = 0

    def __init__(self, images: Images, count: int) -> None:
        self.frame_count: int | None = count
        self._images = images
        self._count = count
        self._stopped = False

    def __enter__(self) -> Iterator[Frame]:
        return iter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            if self._stopped:
                return
            yield Frame(self._images[index % len(self._images)], self.text, index)

    def stop(self) -> None:
        self._stopped = True


class _Meter:
    """A sink that counts frames and takes the time.

    Args:
        warmup: frames that are not counted, at least one.
        warmup_s: seconds after which the warm-up ends even with fewer frames.

    Attributes:
        warm: set when the warm-up is over.
        begun_s: time when that was.
    """

    def __init__(self, warmup: int, warmup_s: float) -> None:
        self.warm = threading.Event()
        self.begun_s = 0.0
        self.count = 0
        self._left = max(1, warmup)
        self._warm_by_s = time.perf_counter() + warmup_s
        self._begun_cpu_s = 0.0
        self._last: tuple[float, float] = (0.0, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Count one frame."""
        del frame, detections
        now = (time.perf_counter(), time.process_time())
        if self.warm.is_set():
            self.count += 1
            self._last = now
            return
        self._left -= 1
        if self._left == 0 or now[0] >= self._warm_by_s:
            self.begun_s, self._begun_cpu_s = self._last = now
            self.warm.set()

    def frames_per_second(self) -> float:
        """Rate of the counted frames; 0 without any."""
        span = self._last[0] - self.begun_s
        return self.count / span if self.count and span > 0 else 0.0

    def cpu_ms_per_frame(self) -> float:
        """Processor time of the process per counted frame."""
        return 1e3 * (self._last[1] - self._begun_cpu_s) / self.count if self.count else 0.0


def cores_of(contexts: int, present: int | None) -> tuple[int, ...]:
    """One context per core, starting over when there are more contexts than cores."""
    return tuple(position % (present or 3) for position in range(contexts))
