"""Load of three contexts in the pipeline, and growth of its memory.

Rate: a stand-in for the NPU sleeps 15 ms per frame without the GIL, so that three contexts can do 200 frames per
second at best.  Everything around it is real: letterbox of a camera picture, the decode of an int8 head of YOLOv5's
size with 8 objects, a sink that draws or one that counts.  With 6 contexts every core has two: one waits while the
other runs, and takes over without a pause.  In turns with ours run: one thread that does all (one
context), and the usual pool of three threads of which each does all for one frame, with results taken in order.

Camera: the same with a live source, below and above the contexts' rate: rate, drops and the age of the frames
when the sinks have them.

Memory: a stand-in that takes no time, 20,000 frames, and the slope (least squares) of the resident memory over the
frames, without the first tenth.  All queues are filled once before, so that a deeper queue does not count as growth.

It does not measure an NPU, only this PC's share of the work, and the waiting.

    python -m tests.benchmarks.bench_pipeline --frames 600 --rounds 3

Other programs on the machine make its figures worse, above all p99; `chrt -f 5` before it keeps them out.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.stream.detector import Detector
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from tests.benchmarks.bench_decode import Layout, head, head_logits

CONTEXTS = 3
_STALL_AT = 100


class SleepingRuntime:
    """Answers with the same head after a while."""

    name = "stand-in"
    figures_from = "a stand-in"
    notes: tuple[str, ...] = ()

    def __init__(self, tensors: list[HeadTensor], seconds: float, core: threading.Lock | None = None) -> None:
        self._tensors = tuple(tensors)
        self._seconds = seconds
        self._core = core or threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, _image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """The head, after the pause."""
        if self._seconds:
            with self._core:
                time.sleep(self._seconds)
        return self._tensors


class Pictures:
    """A file (or a camera of some rate) of the same picture, each in memory of its own, as a decoder gives them."""

    text = "pictures"
    frames_per_second: float | None = None
    reconnects = 0

    def __init__(self, picture: NDArray[np.uint8], count: int, camera_rate: float | None = None) -> None:
        self._picture = picture
        self._pause_s = 1 / camera_rate if camera_rate else 0.0
        self.live = camera_rate is not None
        self.frame_count: int | None = count

    def __enter__(self) -> Iterator[Frame]:
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        started = time.perf_counter()
        for i in range(self.frame_count or 0):
            wait = started + i * self._pause_s - time.perf_counter()
            if self._pause_s and wait > 0:
                time.sleep(wait)
            yield Frame(self._picture.copy(), "x", i)

    def __exit__(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        """Nothing waits."""


class DrawingSink:
    """A sink that draws, or only counts; can sample the memory."""

    def __init__(self, spec: ModelSpec, *, draws: bool, look_every: int = 0) -> None:
        self._spec = spec
        self._draws = draws
        self._look_every = look_every
        self.count = 0
        self.resident: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame."""
        assert frame.index >= self.count
        self.count += 1
        if self._draws:
            draw_detections(frame.image, detections, self._spec.class_names)
        if self._look_every and self.count == _STALL_AT:
            time.sleep(0.5)  # every queue fills up once: its content is not growth
        if self._look_every and self.count % self._look_every == 0:
            self.resident.append((self.count, resident_bytes()))


@dataclass
class Case:
    """Work common to all designs."""

    spec: ModelSpec
    tensors: list[HeadTensor]
    picture: NDArray[np.uint8]
    frames: int
    seconds: float
    draws: bool

    def runtime(self) -> SleepingRuntime:
        """One context on a core of its own."""
        return SleepingRuntime(self.tensors, self.seconds)

    def runtimes(self, contexts: int) -> list[SleepingRuntime]:
        """Contexts on three cores, in turn."""
        cores = [threading.Lock() for _ in range(CONTEXTS)]
        return [SleepingRuntime(self.tensors, self.seconds, cores[i % CONTEXTS]) for i in range(contexts)]

    def sink(self) -> DrawingSink:
        """The sink."""
        return DrawingSink(self.spec, draws=self.draws)


def one_thread(case: Case) -> tuple[float, list[float]]:
    """Everything in a row, one context: (seconds, ages of the frames)."""
    detector, sink, ages = Detector(case.runtime(), case.spec, Thresholds()), case.sink(), []
    started = time.perf_counter()
    with Pictures(case.picture, case.frames) as frames:
        for frame in frames:
            begun = time.perf_counter()
            sink.write(frame, detector(frame.image))
            ages.append(time.perf_counter() - begun)
    return time.perf_counter() - started, ages


def thread_pool(case: Case) -> tuple[float, list[float]]:
    """The usual design: one thread per context, each with all stages of a frame; the caller takes results in order."""
    free = deque(Detector(case.runtime(), case.spec, Thresholds()) for _ in range(CONTEXTS))
    sink, ages = case.sink(), []

    def detect(frame: Frame) -> Detections:
        detector = free.popleft()
        try:
            return detector(frame.image)
        finally:
            free.append(detector)

    waiting: deque[tuple[float, Frame, Future[Detections]]] = deque()

    def take() -> None:
        begun, frame, future = waiting.popleft()
        sink.write(frame, future.result())
        ages.append(time.perf_counter() - begun)

    started = time.perf_counter()
    with ThreadPoolExecutor(CONTEXTS) as pool, Pictures(case.picture, case.frames) as frames:
        for frame in frames:
            waiting.append((time.perf_counter(), frame, pool.submit(detect, frame)))
            if len(waiting) > CONTEXTS:
                take()
        while waiting:
            take()
    return time.perf_counter() - started, ages


def ours(case: Case, ahead: int, contexts: int = CONTEXTS) -> tuple[float, list[float]]:
    """The pipeline."""
    source, sink = Pictures(case.picture, case.frames), case.sink()
    options = PipelineOptions(ahead=ahead)
    started = time.perf_counter()
    with source as frames:
        pipeline = Pipeline(source, frames, case.runtimes(contexts), case.spec, Thresholds(), [sink], options=options)
        with pipeline:
            pipeline.wait()
    seconds = time.perf_counter() - started
    assert sink.count == case.frames
    ages = pipeline._recorder._seconds[-1, : min(case.frames, 1024)]
    return seconds, [float(age) for age in ages]


def camera(case: Case, rate: float) -> None:
    """Print one line of the camera's table."""
    source = Pictures(case.picture, case.frames, rate)
    with source as frames:
        runtimes = [case.runtime() for _ in range(CONTEXTS)]
        pipeline = Pipeline(source, frames, runtimes, case.spec, Thresholds(), [case.sink()])
        with pipeline:
            pipeline.wait()
    stats = pipeline.stats()
    age = stats.stages.age
    print(
        f"{rate:7.0f} {stats.processed / stats.running_s:9.1f} {stats.dropped_before_network:8} "
        f"{stats.dropped_before_sinks:6} {age.p50_ms:7.1f} {age.p90_ms:7.1f} {age.p99_ms:7.1f}"
    )


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def memory_slope(case: Case) -> None:
    """Print the slope of the resident memory."""
    sink = DrawingSink(case.spec, draws=False, look_every=max(1, case.frames // 100))
    source = Pictures(case.picture, case.frames)
    started = time.perf_counter()
    with source as frames:
        runtimes = [case.runtime() for _ in range(CONTEXTS)]
        pipeline = Pipeline(source, frames, runtimes, case.spec, Thresholds(), [sink])
        with pipeline:
            while not pipeline.wait(0.1):
                pipeline.stats()
    seconds = time.perf_counter() - started
    counts, resident = np.array(sink.resident[10:], np.float64).T
    slope = float(np.polyfit(counts, resident, 1)[0])
    verdict = "held" if slope < 20 else "NOT HELD"
    print(
        f"memory: {case.frames} frames at {case.frames / seconds:.0f} a second, {resident[0] / 1e6:.1f} MB at frame "
        f"{counts[0]:.0f}, {resident[-1] / 1e6:.1f} MB at the end, "
        f"slope {slope:.2f} bytes a frame (below 20: {verdict})"
    )


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inference-ms", type=float, default=15.0)
    parser.add_argument("--size", type=int, default=640, help="network input, a square")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--memory-frames", type=int, default=20_000)
    parser.add_argument("--memory-only", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    levels = head_logits(arguments.size, arguments.classes, 8, rng)
    spec, tensors = head(levels, arguments.size, arguments.classes, Layout(("anchor_boxes", "anchor_scores")), "int8")
    picture = rng.integers(0, 256, (480, 640, 3), np.uint8)
    seconds = arguments.inference_ms / 1e3
    ideal = CONTEXTS / seconds
    if not arguments.memory_only:
        print(f"ideal: {CONTEXTS} cores of {arguments.inference_ms:g} ms: {ideal:.1f} frames per second")
        print(f"{'sink':>7} {'design':>22} {'fps':>7} {'of ideal':>9} {'p50 ms':>7} {'p99 ms':>7}   fps of each round")
        designs: dict[str, Any] = {
            "one thread, 1 context": one_thread,
            "pool of 3 threads": thread_pool,
            "ours, none ahead": lambda case: ours(case, 0),
            "ours": lambda case: ours(case, 1),
            "ours, 6 contexts": lambda case: ours(case, 1, 2 * CONTEXTS),
        }
        for draws in (False, True):
            case = Case(spec, tensors, picture, arguments.frames, seconds, draws)
            rates: dict[str, list[float]] = {name: [] for name in designs}
            ages: dict[str, list[float]] = {name: [] for name in designs}
            for _, (name, design) in itertools.product(range(arguments.rounds), designs.items()):
                spent, spent_ages = design(case)
                rates[name].append(case.frames / spent)
                ages[name] += spent_ages
            for name, found in rates.items():
                rate = statistics.median(found)
                p50, p99 = np.percentile(ages[name], (50, 99)) * 1e3
                print(
                    f"{'draws' if draws else 'counts':>7} {name:>22} {rate:7.1f} {rate / ideal:9.1%} {p50:7.1f} "
                    f"{p99:7.1f}   {' '.join(f'{one:.1f}' for one in found)}"
                )
        print(
            f"{'camera':>7} {'processed':>9} {'network':>8} {'sinks':>6} {'p50 ms':>7} {'p90 ms':>7} {'p99 ms':>7}"
            "   (dropped before; age)"
        )
        for rate in (30.0, 100.0, 180.0, 400.0):
            camera(Case(spec, tensors, picture, arguments.frames, seconds, draws=True), rate)
    small = Case(spec, tensors, picture, arguments.memory_frames, 0.0, draws=False)
    memory_slope(small)


if __name__ == "__main__":
    main()
