"""Time of `model(frame)` compared with the pipeline's own call, and of the import.

Both calls letterbox the same picture, run the same runtime and decode; they alternate frame by frame, and the figure is
the ratio of the medians.  The runtime is a stand-in with an int8 head of YOLOv5's size with 8 objects that answers at
once, so that only this PC's share is left and the API's part is as large as it can be, and one that takes 5 ms.

Import: the time of `import rkdeploy` and of `rkdeploy.load` in processes of their own, without that of an empty one.

    python -m tests.benchmarks.bench_api --frames 600
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sized
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkdeploy.api.model import Model
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.spec import NpuModel
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.stream.detector import Detector
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import SleepingRuntime

_IMPORTS = ("pass", "import rkdeploy", "import rkdeploy; rkdeploy.load", "import numpy, cv2")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--starts", type=int, default=11)
    options = parser.parse_args()
    for ms in (0.0, 5.0):
        print_calls(options.frames, ms)
    print_imports(options.starts)


def print_calls(frames: int, ms: float) -> None:
    """Alternate both calls over the same picture, with a network that takes `ms` milliseconds."""
    rng = np.random.default_rng(0)
    spec, tensors = head(head_logits(640, 80, 8, rng), 640, 80, Layout(("anchor_boxes", "anchor_scores")), "int8")
    runtime, thresholds = SleepingRuntime(tensors, ms / 1e3), Thresholds()
    bundle = Bundle(Path("stand-in"), spec, NpuModel("x.rknn", "rk3588", "int8"))
    picture = rng.integers(0, 256, (480, 640, 3), np.uint8)
    detector = Detector(runtime, spec, thresholds)
    with runtime, Model(bundle, thresholds, "stand-in", lambda: [SleepingRuntime(tensors, ms / 1e3)]) as model:
        calls: dict[str, Callable[[NDArray[np.uint8]], Sized]] = {
            "pipeline's own call": detector,
            "model(frame)": model,
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(frames + 50):
            for name, call in list(calls.items())[:: 1 if number % 2 else -1]:
                begun = time.perf_counter()
                found = call(picture)
                if number >= 50:
                    seconds[name].append(time.perf_counter() - begun)
                assert len(found)
    medians = {name: 1e3 * statistics.median(taken) for name, taken in seconds.items()}
    own, ours = medians.values()
    print(f"network {ms:g} ms")
    for name, median in medians.items():
        print(f"{name:20} {median:.3f} ms")
    print(f"ratio of the medians {ours / own:.3f}")


def print_imports(starts: int) -> None:
    """The least of several starts of each program, which other work on the machine disturbs least."""
    taken = {code: min(_seconds(code) for _ in range(starts)) for code in _IMPORTS}
    for code, seconds in taken.items():
        print(f"{code:36} {seconds - taken['pass']:.3f} s more than an empty program")


def _seconds(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
