"""Rate of a chain of two models in the pipeline, next to running the two one after the other.

A stand-in for the NPU sleeps without the GIL: 15 ms for the detector, 2 ms for the recognizer.  Its three cores are
locks that the contexts of both models share, as on a board: where one model computes, the other one waits.  Every
frame has 4 objects.  So at best the cores do 3 / (15 + 4 * 2 ms) frames per second.  All around it is real: the
letterbox of a camera picture, the decode of an int8 head of YOLOv5's size, crops, the decode of int8 columns of text.

In turns with ours run: one thread that detects, then reads each crop (one context of each model); the usual pool of
three threads, of which each does that for one frame, with results taken in order; and the two pipelines one after the
other: all frames through the detector, then all crops through the recognizer.

It does not measure an NPU, only this PC's share of the work, and the waiting.

    python -m tests.benchmarks.bench_chain --frames 300 --rounds 3
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.chain.crop_rule import CropRule, crops_of
from rkdeploy.device.chain.in_frame import in_frame
from rkdeploy.device.chain.recognizer import Recognizer
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.stream.detector import Detector
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import Pictures, SleepingRuntime

CORES = 3
SIZE, CLASSES = 640, 80
CHARACTERS, COLUMNS = 68, 18
TEXT = ModelSpec(
    family="onnx",
    task="text",
    class_names=("text",),
    input=InputSpec("images", 24, 94, fit="stretch", antialias=False),
    outputs=(HeadOutput("logits", "text_logits", 0, 1, (1, CHARACTERS, 1, COLUMNS)),),
    text=TextFormula((*(chr(0x30 + i) for i in range(CHARACTERS - 1)), ""), CHARACTERS - 1),
)


class OnCore:
    """A context whose core computes for one context at a time."""

    name = "stand-in"
    figures_from = "a stand-in"
    notes: tuple[str, ...] = ()

    def __init__(self, runtime: SleepingRuntime, core: threading.Lock) -> None:
        self._runtime, self._core = runtime, core

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """The model's answer, when the core is free and has computed it."""
        with self._core:
            return self._runtime.infer(image)


@dataclass(frozen=True)
class Work:
    """Work common to all designs.

    Attributes:
        detector: contract of the detector.
        head, columns: answers of the two models.
        picture: of each frame.
        frames, objects: number of frames, and of objects in each.
        detect_s, read_s: time of the two models on a core.
    """

    detector: ModelSpec
    head: list[HeadTensor]
    columns: list[HeadTensor]
    picture: NDArray[np.uint8]
    frames: int
    objects: int
    detect_s: float
    read_s: float

    def contexts(self, cores: list[threading.Lock]) -> tuple[list[OnCore], list[OnCore]]:
        """One context of each model per core."""
        return (
            [OnCore(SleepingRuntime(self.head, self.detect_s), core) for core in cores],
            [OnCore(SleepingRuntime(self.columns, self.read_s), core) for core in cores],
        )

    @property
    def limit(self) -> Thresholds:
        """Thresholds that keep the wanted number of objects."""
        return Thresholds(max_det=self.objects)


class CountingSink:
    """Counts frames and answers."""

    def __init__(self) -> None:
        self.frames = self.answers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame."""
        assert frame.index >= self.frames
        self.frames += 1
        self.answers += sum(one is not None for answers in detections.nested or () for one in answers)


def read_one_by_one(detector: Detector, reader: Detector, image: NDArray[np.uint8]) -> Detections:
    """Detect, then read each crop, as a loop does it."""
    found, image_hw = detector(image), (image.shape[0], image.shape[1])
    nested = []
    for _, region in crops_of(found, CropRule(), TEXT.input, image_hw).regions:
        nested.append((RECOGNIZER.result(in_frame(reader(region.cut(image)), region, image_hw)),))
    return replace(found, nested=tuple(nested))


def one_thread(work: Work) -> CountingSink:
    """Everything in a row, one context of each model."""
    (one,), (two,) = work.contexts([threading.Lock()])
    detector, reader = Detector(one, work.detector, work.limit), Detector(two, TEXT, Thresholds())
    sink = CountingSink()
    with Pictures(work.picture, work.frames) as frames:
        for frame in frames:
            sink.write(frame, read_one_by_one(detector, reader, frame.image))
    return sink


def thread_pool(work: Work) -> CountingSink:
    """One thread per core, each with both models for one frame; results in order."""
    free = deque(
        (Detector(one, work.detector, work.limit), Detector(two, TEXT, Thresholds()))
        for one, two in zip(*work.contexts([threading.Lock() for _ in range(CORES)]), strict=True)
    )
    sink = CountingSink()

    def both(frame: Frame) -> Detections:
        models = free.popleft()
        try:
            return read_one_by_one(*models, frame.image)
        finally:
            free.append(models)

    waiting: deque[tuple[Frame, Future[Detections]]] = deque()
    with ThreadPoolExecutor(CORES) as pool, Pictures(work.picture, work.frames) as frames:
        for frame in frames:
            waiting.append((frame, pool.submit(both, frame)))
            if len(waiting) > CORES:
                first, future = waiting.popleft()
                sink.write(first, future.result())
        for first, future in waiting:
            sink.write(first, future.result())
    return sink


def two_pipelines(work: Work) -> CountingSink:
    """All frames through the detector's pipeline, then all their crops through the recognizer's."""
    detectors, readers = work.contexts([threading.Lock() for _ in range(CORES)])
    crops: list[NDArray[np.uint8]] = []

    class CropSink(CountingSink):
        def write(self, frame: Frame, detections: Detections) -> None:
            hw = (frame.image.shape[0], frame.image.shape[1])
            crops.extend(
                region.cut(frame.image) for _, region in crops_of(detections, CropRule(), TEXT.input, hw).regions
            )

    run_pipeline(Pictures(work.picture, work.frames), detectors, work.detector, work.limit, CropSink())
    sink = CountingSink()
    run_pipeline(Crops(crops), readers, TEXT, Thresholds(), sink)
    sink.answers, sink.frames = sink.frames, work.frames
    return sink


class Crops(Pictures):
    """Images as a source."""

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        super().__init__(images[0], len(images))
        self._images = images

    def _frames(self):  # type: ignore[no-untyped-def]  # as the class above
        return (Frame(image, "x", i) for i, image in enumerate(self._images))


def run_pipeline(
    source: Pictures,
    contexts: list[OnCore],
    spec: ModelSpec,
    limit: Thresholds,
    sink: CountingSink,
    recognizers: tuple[Recognizer, ...] = (),
) -> None:
    """Run a pipeline to its end."""
    with source as frames:
        pipeline = Pipeline(source, frames, contexts, spec, limit, [sink], recognizers=recognizers)
        with pipeline:
            pipeline.wait()


def ours(work: Work) -> CountingSink:
    """The chain."""
    detectors, readers = work.contexts([threading.Lock() for _ in range(CORES)])
    sink = CountingSink()
    chain = (replace(RECOGNIZER, runtimes=readers),)
    run_pipeline(Pictures(work.picture, work.frames), detectors, work.detector, work.limit, sink, chain)
    return sink


RECOGNIZER = Recognizer("text", TEXT, Thresholds(), (), CropRule())
DESIGNS: dict[str, Callable[[Work], CountingSink]] = {
    "one thread, 1 core": one_thread,
    "pool of 3 threads": thread_pool,
    "detector, then crops": two_pipelines,
    "ours": ours,
}


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--detect-ms", type=float, default=15.0)
    parser.add_argument("--read-ms", type=float, default=2.0)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    spec, tensors = head(
        head_logits(SIZE, CLASSES, 3 * given.objects, rng),
        SIZE,
        CLASSES,
        Layout(("anchor_boxes", "anchor_scores")),
        "int8",
    )
    columns = [HeadTensor(rng.integers(-128, 128, (1, CHARACTERS, 1, COLUMNS), np.int8), 0.1, 0)]
    picture = rng.integers(0, 256, (480, 640, 3), np.uint8)
    work = Work(
        spec, tensors, columns, picture, given.frames, given.objects, given.detect_ms / 1e3, given.read_ms / 1e3
    )
    ideal = CORES / (work.detect_s + work.objects * work.read_s)
    print(
        f"ideal: {CORES} cores, {given.detect_ms:g} ms and {given.objects} times {given.read_ms:g} ms a frame: "
        f"{ideal:.1f} frames per second"
    )
    rates: dict[str, list[float]] = {name: [] for name in DESIGNS}
    for _, (name, design) in itertools.product(range(given.rounds), DESIGNS.items()):
        started = time.perf_counter()
        sink = design(work)
        rates[name].append(work.frames / (time.perf_counter() - started))
        assert (sink.frames, sink.answers) == (work.frames, work.frames * work.objects), (name, sink.answers)
    print(f"{'design':>22} {'fps':>7} {'of ideal':>9}   fps of each round")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:>22} {rate:7.1f} {rate / ideal:9.1%}   {' '.join(f'{one:.1f}' for one in found)}")


if __name__ == "__main__":
    main()
