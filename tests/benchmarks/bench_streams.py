"""Four live 1080p streams on three contexts of a stand-in for the NPU: rate, and fairness among the streams.

Each stream is a thread that gives a picture of 1920x1080 in memory of its own at its rate.  A core sleeps 15 ms per
frame without the GIL, so that three can do 200 frames per second at best; letterbox and the decode of an int8 head of
YOLOv5's size are real.  The slower of the offered rate and 200 is the ideal.  Fairness is the least number of frames
of a stream over the most.  The last row has one stream that is four times as fast as the others.

It does not measure an NPU nor the decoding of video.

    python -m tests.benchmarks.bench_streams --seconds 5
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.sources.several import combined
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import CONTEXTS, Case


class Stream:
    """A live stream of one picture at a rate."""

    frame_count: int | None = None
    live = True
    reconnects = 0

    def __init__(self, text: str, picture: NDArray[np.uint8], rate: float) -> None:
        self.text = text
        self.frames_per_second: float | None = rate
        self._picture, self._period_s = picture, 1 / rate
        self._stopped = threading.Event()

    def __enter__(self) -> Iterator[Frame]:
        return self._frames()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the frames."""
        self._stopped.set()

    def _frames(self) -> Iterator[Frame]:
        due, index = time.perf_counter(), 0
        while not self._stopped.wait(max(0.0, due - time.perf_counter())):
            yield Frame(self._picture.copy(), self.text, index)
            due, index = due + self._period_s, index + 1


class _Nowhere:
    """A sink that takes every frame."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        """Take one frame."""


def measure(case: Case, rates: tuple[float, ...], seconds: float, ideal: float) -> None:
    """Run streams of these rates, and print one line."""
    source = combined([Stream(f"stream {n}", case.picture, rate) for n, rate in enumerate(rates)])
    with source as frames:
        runtimes = case.runtimes(CONTEXTS)
        with Pipeline(source, frames, runtimes, case.spec, Thresholds(), [_Nowhere()]) as pipeline:
            pipeline.wait(seconds)
    stats = pipeline.stats()
    counts = [one.processed for one in stats.sources]
    rate = stats.processed / stats.running_s
    bound, age = min(ideal, sum(rates)), stats.stages.age
    offered = " ".join(f"{one:g}" for one in rates)
    print(
        f"{offered:>16} {rate:7.1f} {rate / bound:9.1%} {min(counts) / max(counts):11.3f} {age.p50_ms:7.1f} "
        f"{age.p99_ms:7.1f}   {' '.join(map(str, counts))}"
    )


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    parser.add_argument("--inference-ms", type=float, default=15.0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    levels = head_logits(640, 80, 8, rng)
    spec, tensors = head(levels, 640, 80, Layout(("anchor_boxes", "anchor_scores")), "int8")
    picture = rng.integers(0, 256, (1080, 1920, 3), np.uint8)
    case = Case(spec, tensors, picture, 0, arguments.inference_ms / 1e3, draws=False)
    ideal = CONTEXTS / case.seconds
    print(f"ideal: {CONTEXTS} cores of {arguments.inference_ms:g} ms: {ideal:.1f} frames per second")
    print(f"{'offered rates':>16} {'fps':>7} {'of ideal':>9} {'least/most':>11} {'p50 ms':>7} {'p99 ms':>7}   frames")
    for rates in ((15.0,) * 4, (30.0,) * 4, (60.0,) * 4, (120.0, 30.0, 30.0, 30.0)):
        measure(case, rates, arguments.seconds, ideal)


if __name__ == "__main__":
    main()
