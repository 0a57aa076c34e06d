"""Time per frame that writing a 1080p video takes, by PyAV (H.264) and by OpenCV (MPEG-4 part 2), in one process.

Both get the same frames with nothing to draw, in turns.  Printed for each: the time that a frame holds the pipeline
where there is room in the queue (a live source), and the time per frame of a whole file, its end included, by the
clock and summed over the processors; medians of the rounds, and the sizes of the files.

    python -m tests.benchmarks.bench_video_sinks --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.sink import Sink
from rkdeploy.device.stream.sinks.video_writer import VideoSink
from rkdeploy.device.stream.video_out.encoded_video import EncodedVideoSink
from rkdeploy.device.stream.video_out.mp4_files import Mp4Files
from rkdeploy.device.stream.video_out.writer_choice import chosen_writer

_ROOM: Final = 4


def sink_of(package: str, path: Path) -> Sink:
    """The sink of `--save` for a video file."""
    if package == "OpenCV":
        return VideoSink(path, (), 25)
    encoder = chosen_writer().encoder
    assert encoder is not None, "PyAV has no encoder here"
    files = Mp4Files(path, at_once=False)
    return EncodedVideoSink("clip", (), encoder, [files], frames_per_second=25, live=False, notify=print)


def measured(package: str, path: Path, frames: list[Frame]) -> tuple[float, float, float]:
    """Milliseconds that a frame holds the pipeline, and per frame of the whole file by the clock and on processors."""
    nothing = Detections.empty()
    held: list[float] = []
    begun, used = time.perf_counter(), time.process_time()
    with sink_of(package, path) as sink:
        for frame in frames:
            asked = time.perf_counter()
            sink.write(frame, nothing)
            held.append(time.perf_counter() - asked)
    whole, on_processors = time.perf_counter() - begun, time.process_time() - used
    return statistics.median(held[:_ROOM]) * 1e3, whole / len(frames) * 1e3, on_processors / len(frames) * 1e3


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=60)
    arguments = parser.parse_args()
    noise = np.random.default_rng(0).integers(0, 256, (54, 96, 3), np.uint8)
    base = cv2.resize(noise, (1920, 1080))
    images = [np.asarray(np.roll(base, 4 * i, 1), np.uint8) for i in range(arguments.frames)]
    frames = [Frame(image, "clip.avi", i, i * 40.0) for i, image in enumerate(images)]
    packages = ("PyAV", "OpenCV")
    with tempfile.TemporaryDirectory() as folder:
        paths = {package: Path(folder) / f"{package}.mp4" for package in packages}
        rounds = [[measured(one, paths[one], frames) for one in packages] for _ in range(arguments.rounds)]
        sizes = [paths[one].stat().st_size / len(frames) / 1e3 for one in packages]
    for n, what in enumerate(("held per frame", "whole file, per frame", "processor time, per frame")):
        ours, theirs = (statistics.median(one[column][n] for one in rounds) for column in range(2))
        print(f"1080p, {what}: PyAV {ours:.2f} ms, OpenCV {theirs:.2f} ms")
    print(f"kB per frame: PyAV {sizes[0]:.1f}, OpenCV {sizes[1]:.1f}")


if __name__ == "__main__":
    main()
