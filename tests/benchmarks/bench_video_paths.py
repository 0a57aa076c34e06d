"""1080p H.264 to detections: the planes of the decoded pictures, whole pictures by OpenCV, and a plain loop.

The NPU is a stand-in: three cores that sleep 15 ms per frame without the GIL.  Decoding, the network's input of 640x640
and the decode of an int8 head of YOLOv5's size are real; a sink counts the frames and draws nothing, as for JSON lines.

planes      rkdeploy's pipeline with PyAV in software
OpenCV      the same pipeline with RKDEPLOY_VIDEO=opencv
plain loop  cv2.VideoCapture, letterbox, network, decode, one after the other, on one core of the stand-in

For a file: frames per second, and milliseconds of processor time per frame.  For RTSP, from a loopback server that
plays a file of 60 frames per second: frames with a result per second, and the same processor time.  Each round runs all
ways in turn; printed are medians of the rounds.

Bytes: what each way writes into buffers per frame behind the decoder, up to the network's input: outputs of OpenCV's
functions as they are called, and of FFmpeg's conversion twice, since PyAV and OpenCV both copy its result.

    python -m tests.benchmarks.bench_video_paths --rounds 3
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.stream.detector import Detector
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE
from rkdeploy.images.fit import Letterbox
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import CONTEXTS, Case

_WIDTH, _HEIGHT = 1920, 1080
_SIDE, _CLASSES = 640, 80
_PACKAGES = {"planes": "software", "OpenCV": "opencv"}
_COUNTED = ("resize", "cvtColor", "merge", "transform")


@dataclass(frozen=True)
class Figures:
    """Of one run: frames with a result per second, milliseconds of processor time per frame."""

    rate: float
    cpu_ms: float


def write_clip(path: Path, count: int, rate: int) -> None:
    """Write 1080p H.264, a picture that moves, with a key frame each second."""
    av = import_module("av")
    noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT // 20, _WIDTH // 20, 3), np.uint8)
    base = cv2.resize(noise, (_WIDTH, _HEIGHT))
    options = {"preset": "veryfast", "g": str(rate)}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for i in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(base, 4 * i, 1), format="bgr24")))
        container.mux(stream.encode(None))


def in_pipeline(case: Case, address: str, package: str, seconds: float) -> Figures:
    """Read a source for some seconds, or to its end."""
    os.environ[VIDEO_VARIABLE] = package
    source = open_source(address)
    with source as frames:
        pipeline = Pipeline(source, frames, case.runtimes(CONTEXTS), case.spec, Thresholds(), [case.sink()])
        with measured() as figures:
            with pipeline:
                pipeline.wait(seconds)
                pipeline.stop()
            count = pipeline.stats().processed
    return figures(count)


def plain_loop(case: Case, address: str, seconds: float) -> Figures:
    """Read, letterbox, infer and decode in a row."""
    detector = Detector(case.runtime(), case.spec, Thresholds())
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG)
    count, ends = 0, time.perf_counter() + seconds
    with measured() as figures:
        while time.perf_counter() < ends:
            got, image = capture.read()
            if not got:
                break
            detector(np.asarray(image, np.uint8))
            count += 1
    capture.release()
    return figures(count)


@contextmanager
def measured() -> Iterator[Callable[[int], Figures]]:
    """Time and processor time of the block; the value makes figures of them for a number of frames."""
    begun, cpu = time.perf_counter(), time.process_time()
    spent: list[float] = []
    yield lambda count: Figures(count / spent[0], 1e3 * spent[1] / max(1, count))
    spent += [time.perf_counter() - begun, time.process_time() - cpu]


def table(case: Case, address: str, rounds: int, seconds: float) -> None:
    """Print one line per way, with ratios to ours."""
    ways: dict[str, Callable[[], Figures]] = {
        **{name: _run(case, address, package, seconds) for name, package in _PACKAGES.items()},
        "plain loop": lambda: plain_loop(case, address, seconds),
    }
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            found[name].append(run())
    median = {
        name: Figures(statistics.median(one.rate for one in runs), statistics.median(one.cpu_ms for one in runs))
        for name, runs in found.items()
    }
    ours = median["planes"]
    for name, one in median.items():
        print(
            f"{name:12} {one.rate:7.1f} frames/s {one.cpu_ms:7.2f} ms CPU per frame; the planes have "
            f"{ours.rate / one.rate:.2f} of its rate and {ours.cpu_ms / one.cpu_ms:.2f} of its CPU time"
        )


def _run(case: Case, address: str, package: str, seconds: float) -> Callable[[], Figures]:
    return lambda: in_pipeline(case, address, package, seconds)


def written_bytes(clip: Path, package: str, spec: InputSpec) -> int:
    """Bytes that one frame's way from the decoder to the network's input writes."""
    os.environ[VIDEO_VARIABLE] = package
    total = 0
    real = {name: getattr(cv2, name) for name in _COUNTED}

    def counting(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal total
            result = real[name](*arguments, **options)
            total += result.nbytes
            return result

        return call

    fit = Letterbox(spec)
    with open_source(str(clip)) as frames:
        frame = next(frames)
        for name in _COUNTED:
            setattr(cv2, name, counting(name))
        try:
            frame.picture.fitted(fit)
        finally:
            for name, function in real.items():
                setattr(cv2, name, function)
    whole = isinstance(frame.content, np.ndarray) or frame.content._bgr is not None  # type: ignore[attr-defined]  # ours
    return total + (2 * frame.image.nbytes if whole else 0)


@contextmanager
def rtsp_server(clip: Path) -> Iterator[str]:
    """The address of a loopback server of the file.

    Raises:
        RuntimeError: when it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["/usr/bin/python3", str(Path(__file__).with_name("rtsp_file.py")), str(port), str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        if server.stdout.readline().strip() != "ready":
            raise RuntimeError("the RTSP server does not start: bash tests/needs.sh")
        try:
            yield f"rtsp://127.0.0.1:{port}/cam"
        finally:
            server.kill()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--no-rtsp", action="store_true")
    arguments = parser.parse_args()
    levels = head_logits(_SIDE, _CLASSES, 8, np.random.default_rng(0))
    spec, tensors = head(levels, _SIDE, _CLASSES, Layout(("anchor_boxes", "anchor_scores")), "int8")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, round(60 * arguments.seconds) + 60, 60)
        case = Case(spec, tensors, np.empty(0, np.uint8), 0, 0.015, draws=False)
        print("bytes written per frame behind the decoder, up to the input of 640x640:")
        for name, package in _PACKAGES.items():
            print(f"{name:12} {written_bytes(clip, package, spec.input) / 1e6:.2f} MB")
        print("file:")
        table(case, str(clip), arguments.rounds, arguments.seconds)
        if arguments.no_rtsp:
            return
        with rtsp_server(clip) as address:
            print("RTSP, 60 frames per second:")
            table(case, address, arguments.rounds, arguments.seconds - 1)


if __name__ == "__main__":
    main()
