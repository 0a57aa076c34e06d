"""Copies of a frame's input and outputs on the way through librknnrt, in a pipeline, on the stand-in library.

Three ways in one run, with the outputs of an int8 YOLOv5 head at 640 pixels in the NPU's packed layout:

- by calls: `rknn_inputs_set` and `rknn_outputs_get`, which copy inside of the library, and the outputs kept for the
  decode;
- one buffer: NPU memory that the letterbox is copied into, and outputs copied out of it;
- in place: two buffers of NPU memory in turn, which the letterbox writes and the decode reads.

Counted are the bytes that NumPy's `copyto` and those calls write, per frame; the letterbox itself, which every way
needs, is not.  The time is that of our copies on this machine, in ordinary memory.  A board was not measured.

    python -m tests.benchmarks.bench_npu_copies --frames 30
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.librknnrt.library import LIBRARY_VARIABLE
from rkdeploy.device.runtime.librknnrt.runtime import LibRknnRt
from rkdeploy.device.runtime.librknnrt.shared_model import SharedModel
from rkdeploy.device.runtime.protocol import HeadTensor, Runtime
from rkdeploy.device.stream.pipeline import Pipeline
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import DrawingSink, Pictures
from tests.board.sample_model import shim_text, write_rknn
from tests.board.shim import build_shim

CONTEXTS = 3
_COPY_LINE = re.compile(r"^  (?:input|output)\[.* size=(\d+)", re.MULTILINE)
_RUN_LINE = re.compile(r"^rknn_run\(", re.MULTILINE)


class OnlyInfer:
    """A runtime that hides its buffers, so that it is copied to and from."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.figures_from, self.notes = runtime.name, runtime.figures_from, runtime.notes

    def __enter__(self) -> Self:
        self._runtime.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runtime.__exit__(kind, error, trace)

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        """See `Runtime.infer`."""
        return self._runtime.infer(image)


class CopyCounter:
    """Counts what `numpy.copyto` writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = self.calls = 0
        self.seconds = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count in all threads."""
        copy = np.copyto

        def counted(target: NDArray[Any], source: NDArray[Any]) -> None:
            begun = time.perf_counter()
            copy(target, source)
            spent = time.perf_counter() - begun
            with self._lock:
                self.bytes, self.calls, self.seconds = self.bytes + target.nbytes, self.calls + 1, self.seconds + spent

        with mock.patch("numpy.copyto", counted):
            yield


def measured(name: str, runtimes: list[Runtime], spec: ModelSpec, log: Path, frames: int) -> float:
    """Print one line of the table; returns the bytes per frame."""
    rng = np.random.default_rng(1)
    source = Pictures(rng.integers(0, 256, (480, 640, 3), np.uint8), frames)
    counter = CopyCounter()
    log.unlink(missing_ok=True)
    with source as pictures:
        pipeline = Pipeline(source, pictures, runtimes, spec, Thresholds(), [DrawingSink(spec, draws=False)])
        with pipeline:
            opened = log.read_text()  # with the trials of the buffers
            with counter.counting():
                pipeline.wait()
    text = log.read_text()[len(opened) :]
    assert pipeline.stats().processed == frames
    by_calls = sum(int(size) for size in _COPY_LINE.findall(text))
    total = (by_calls + counter.bytes) / frames
    print(
        f"{name:>11} {total / 1e6:13.2f} {by_calls / frames / 1e6:13.2f} {counter.bytes / frames / 1e6:13.2f} "
        f"{counter.calls / frames:12.1f} {counter.seconds / frames * 1e3:13.2f}"
    )
    return total


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=30)
    frames = parser.parse_args().frames
    levels = head_logits(640, 80, 8, np.random.default_rng(0))
    spec, _ = head(levels, 640, 80, Layout(("anchor_boxes", "anchor_scores")), "int8")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rknn, log = write_rknn(place / "best.rknn"), place / "shim.log"
        (place / "shim.txt").write_text(shim_text(spec, fill="const:-128"))
        os.environ |= {
            LIBRARY_VARIABLE: str(build_shim(place / "librknnrt.so", "-O3")),
            "RKNN_SHIM_LOG": str(log),
            "RKNN_SHIM_SPEC": str(place / "shim.txt"),
        }
        print(
            f"{'way':>11} {'MB per frame':>13} {'by the calls':>13} {'by NumPy':>13} {'NumPy copies':>12} "
            f"{'ms of NumPy':>13}"
        )
        copied, shared, in_place = (SharedModel(rknn) for _ in range(3))
        ways: dict[str, list[Runtime]] = {
            "by calls": [OnlyInfer(LibRknnRt(copied, spec, io="copy")) for _ in range(CONTEXTS)],
            "one buffer": [OnlyInfer(LibRknnRt(shared, spec)) for _ in range(CONTEXTS)],
            "in place": [LibRknnRt(in_place, spec) for _ in range(CONTEXTS)],
        }
        totals = {name: measured(name, runtimes, spec, log, frames) for name, runtimes in ways.items()}
        print(f"saved per frame: {(totals['one buffer'] - totals['in place']) / 1e6:.2f} MB of one buffer's copies")


if __name__ == "__main__":
    main()
