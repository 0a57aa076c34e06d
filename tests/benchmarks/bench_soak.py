"""Growth of a run with four live streams: resident memory, threads and descriptors over 20,000 frames.

Four streams of pictures of 640x480 go through three contexts of the stand-in for librknnrt, on buffers of its memory,
into a file of JSON lines.  The slope is the median of the slopes between any two samples (Theil and Sen), without the
first tenth, so that pictures that are held for a moment do not count as growth; every queue is filled once before.
Threads and descriptors are those of the process.

    python -m tests.benchmarks.bench_soak --frames 20000
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.librknnrt.library import LIBRARY_VARIABLE
from rkdeploy.device.runtime.librknnrt.runtime import LibRknnRt
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.sinks.jsonl import JsonlSink
from rkdeploy.device.stream.sources.several import combined
from tests.benchmarks.bench_pipeline import resident_bytes
from tests.benchmarks.bench_streams import Stream
from tests.board.sample_model import SPEC, shim_text, write_rknn
from tests.board.shim import build_shim

STREAMS, CONTEXTS = 4, 3
LIMIT = 50.0
"""Bytes per frame that the resident memory may grow."""
_STALL_AT = 100
_SAMPLES = 100


class GrowthSink:
    """A sink that samples what the process holds.

    Args:
        every: frames between two samples.

    Attributes:
        samples: frames so far, resident bytes, threads, descriptors.
    """

    def __init__(self, every: int) -> None:
        self.samples: list[tuple[int, int, int, int]] = []
        self._every = every
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, _frame: Frame, _detections: Detections) -> None:
        """Take one frame."""
        self._count += 1
        if self._count == _STALL_AT:
            time.sleep(0.5)
        if self._count % self._every == 0:
            held = resident_bytes(), threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())
            self.samples.append((self._count, *held))


def median_slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Median of the slopes between any two points."""
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=200.0, help="frames per second of each stream")
    arguments = parser.parse_args()
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    source = combined([Stream(f"stream {n}", picture, arguments.rate) for n in range(STREAMS)])
    growth = GrowthSink(max(1, arguments.frames // _SAMPLES))
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (place / "shim.txt").write_text(shim_text())
        os.environ |= {
            LIBRARY_VARIABLE: str(build_shim(place / "librknnrt.so", "-O2")),
            "RKNN_SHIM_SPEC": str(place / "shim.txt"),
        }
        os.environ.pop("RKNN_SHIM_LOG", None)
        model = SharedModel(write_rknn(place / "best.rknn"))
        runtimes = [LibRknnRt(model, SPEC) for _ in range(CONTEXTS)]
        lines = stack.enter_context(JsonlSink(place / "out.jsonl", SPEC.class_names))
        frames = stack.enter_context(source)
        options = PipelineOptions(max_frames=arguments.frames)
        pipeline = Pipeline(source, frames, runtimes, SPEC, Thresholds(), [lines, growth], options=options)
        with pipeline:
            while not pipeline.wait(0.1):
                pipeline.stats()
        stats = pipeline.stats()
    kept = np.array(growth.samples[_SAMPLES // 10 :], np.float64).T
    slope = median_slope(kept[0], kept[1])
    print(
        f"{stats.processed} frames of {STREAMS} streams at {stats.processed / stats.running_s:.0f} a second, "
        f"{stats.dropped} dropped; each {', '.join(str(one.processed) for one in stats.sources)}"
    )
    print(
        f"resident {kept[1][0] / 1e6:.1f} MB at frame {kept[0][0]:.0f}, {kept[1][-1] / 1e6:.1f} MB at the end, "
        f"{kept[1].max() / 1e6:.1f} MB at most: slope "
        f"{slope:.2f} bytes per frame (below {LIMIT:g}: {'held' if slope < LIMIT else 'NOT HELD'})"
    )
    for name, values in (("threads", kept[2]), ("descriptors", kept[3])):
        constant = "constant" if values.min() == values.max() else "NOT CONSTANT"
        print(f"{name} {values.min():.0f} to {values.max():.0f}: {constant}")


if __name__ == "__main__":
    main()
