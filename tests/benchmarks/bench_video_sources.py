"""Frames per second of an H.264 file through PyAV in software and through OpenCV, in turns in one process.

Writes a video of its own (1920x1080, a picture that moves), reads it through `open_source` with each package, and
prints both rates, each the median of the rounds, and the ratio of the medians.

    python -m tests.benchmarks.bench_video_sources --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np

from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE

PACKAGES = ("software", "opencv")


def write_clip(path: Path, count: int, width: int, height: int) -> None:
    """Write H.264 with PyAV."""
    av = import_module("av")
    noise = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    base = cv2.resize(noise, (width, height))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(base, 4 * i, 1), format="bgr24")))
        container.mux(stream.encode(None))


def rate(path: Path, package: str) -> float:
    """Frames per second of reading the whole file, each frame in BGR."""
    os.environ[VIDEO_VARIABLE] = package
    started = time.perf_counter()
    with open_source(str(path)) as frames:
        count = sum(frame.image.size > 0 for frame in frames)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, arguments.frames, 1920, 1080)
        rounds = [[rate(path, package) for package in PACKAGES] for _ in range(arguments.rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"1080p H.264: PyAV {ours:.0f} frames per second, OpenCV {theirs:.0f}, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
