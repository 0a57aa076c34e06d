"""A run of four live streams with everything that sends, counts and records: growth, and what it costs in rate.

Four streams of 640x480 in which a spot moves go through three contexts that take 15 ms each, as a stand-in for an NPU
of three cores; the network is a tiny one, run by onnxruntime.  First with JSON lines alone, then with tracks, a line
and a zone, a real MQTT broker (mosquitto), H.264 segments, and the web view with a viewer.  The slope of the resident
memory is the median of those between any two samples (Theil and Sen) of the second half: encoders, rings
and memory pools fill until then.  The curve is printed whole.

    python -m tests.benchmarks.bench_everything --frames 20000
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.device.messages.message_options import MessageOptions
from rkdeploy.device.runtime.backends import open_runtime
from rkdeploy.device.runtime.protocol import Runtime
from rkdeploy.device.stream.bundle_run import run_bundle
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.run_events import RunEvents, RunResult
from rkdeploy.device.stream.run_options import RunOptions
from rkdeploy.device.stream.sources.several import combined
from rkdeploy.device.stream.video_out.keep_limits import KEEP
from rkdeploy.device.stream.video_out.recording_options import RecordingOptions
from rkdeploy.device.tracking.tracking_options import TrackingOptions
from tests.benchmarks.bench_soak import GrowthSink, median_slope
from tests.board_install.small_bundle import program
from tests.device.messages.broker import Broker
from tests.device.tracking.moving_spot import make_spot_bundle

STREAMS, CONTEXTS, NETWORK_S = 4, 3, 0.015
LIMIT: Final = 50.0
"""Bytes per frame that the resident memory may grow."""
_SAMPLES = 100
_PERIOD = 120


class SpotStream:
    """A live stream of pictures in which a bright spot goes to the right, and again from the left.

    Args:
        text: name of the stream.
        rate: frames per second.
    """

    frame_count: int | None = None
    live = True
    reconnects = 0

    def __init__(self, text: str, rate: float) -> None:
        self.text = text
        self.frames_per_second: float | None = rate
        self._stopped = threading.Event()
        self._pictures = [_picture(step) for step in range(_PERIOD)]

    def __enter__(self) -> Iterator[Frame]:
        return self._frames()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the frames."""
        self._stopped.set()

    def _frames(self) -> Iterator[Frame]:
        assert self.frames_per_second is not None
        due, index = time.perf_counter(), 0
        while not self._stopped.wait(max(0.0, due - time.perf_counter())):
            yield Frame(self._pictures[index % _PERIOD].copy(), self.text, index, index * 1e3 / self.frames_per_second)
            due, index = due + 1 / self.frames_per_second, index + 1


def _picture(step: int) -> NDArray[np.uint8]:
    picture = np.zeros((480, 640, 3), np.uint8)
    left = step * (640 - 160) // _PERIOD
    picture[160:320, left : left + 160] = 230
    return picture


class SlowRuntime:
    """A runtime whose inference takes at least 15 ms, without the interpreter's lock."""

    figures_from = "a stand-in for an NPU, on this PC"
    notes: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle) -> None:
        self._inner: Runtime = open_runtime("onnxruntime", bundle)
        self.name = self._inner.name

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def infer(self, image: NDArray[np.uint8]) -> Any:
        """As `Runtime.infer`."""
        end = time.perf_counter() + NETWORK_S
        tensors = self._inner.infer(image)
        time.sleep(max(0.0, end - time.perf_counter()))
        return tensors


class _Told(RunEvents):
    """Prints warnings, and keeps the address of the page."""

    def __init__(self) -> None:
        self.url = ""

    def warning(self, text: str) -> None:
        print(f"warning: {text}")

    def view(self, url: str) -> None:
        self.url = url


def one_run(bundle: Bundle, options: RunOptions, growth: GrowthSink, rate: float, *, viewed: bool) -> RunResult:
    """Run it on the stand-ins."""
    source = combined([SpotStream(f"cam{number}", rate) for number in range(STREAMS)])
    runtimes: Sequence[Runtime] = [SlowRuntime(bundle) for _ in range(CONTEXTS)]
    told = _Told()
    module = "rkdeploy.device.stream.bundle_run"
    with ExitStack() as stack:
        stack.enter_context(patch(f"{module}.open_sources", return_value=source))
        stack.enter_context(patch(f"{module}._runtimes", return_value=runtimes))
        if viewed:
            stack.enter_context(viewer(told))
        return run_bundle(bundle, options, told, [growth])


@contextmanager
def viewer(told: _Told) -> Iterator[None]:
    """A viewer that reads the pictures until the run ends."""
    ended = threading.Event()

    def read() -> None:
        while not told.url and not ended.wait(0.05):
            pass
        try:
            with urllib.request.urlopen(f"{told.url.rstrip('/')}/stream", timeout=5) as answer:
                while not ended.is_set() and answer.read(65536):
                    pass
        except OSError:  # the run has ended
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


def everything(options: RunOptions, place: Path, port: int) -> RunOptions:
    """The options with all that sends, counts and records."""
    return replace(
        options,
        save=place / "recordings",
        web_address="127.0.0.1:0",
        tracking=TrackingOptions(track=True, lines=("middle:0.5,1,0.5,0",), zones=("right:0.5,0,1,0,1,1,0.5,1",)),
        messages=MessageOptions(mqtt=f"mqtt://127.0.0.1:{port}/bench", mqtt_every_s=0.1, mqtt_discovery=True),
        recording=RecordingOptions(segment_s=10.0, keep=KEEP.read("50MB")),
    )


def report(name: str, result: RunResult, growth: GrowthSink) -> float:
    """Print the figures of a run.

    Returns:
        Frames per second.
    """
    stats = result.stats
    rate = stats.processed / stats.running_s
    kept = np.array(growth.samples[len(growth.samples) // 2 :], np.float64).T
    curve = [f"{sample[1] / 1e6:.1f}" for sample in growth.samples[:: max(1, len(growth.samples) // 10)]]
    slope = median_slope(kept[0], kept[1])
    print(
        f"{name}: {stats.processed} frames at {rate:.1f} a second; each stream "
        f"{', '.join(str(one.processed) for one in stats.sources)}; resident {kept[1][0] / 1e6:.1f} to "
        f"{kept[1][-1] / 1e6:.1f} MB in the second half, slope {slope:.2f} bytes per frame "
        f"(below {LIMIT:g}: {'held' if slope < LIMIT else 'NOT HELD'}); threads {kept[2].min():.0f} to "
        f"{kept[2].max():.0f}, descriptors {kept[3].min():.0f} to {kept[3].max():.0f}"
    )
    print(f"    resident MB at each tenth: {', '.join(curve)}")
    return rate


def main() -> None:
    """Run both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--alone", type=int, default=3_000, help="frames of the run with JSON lines alone")
    parser.add_argument("--rate", type=float, default=60.0, help="frames per second of each stream")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_spot_bundle(place / "spot")
        bundle = read_bundle(place / "spot")
        broker = Broker(program("mosquitto"), place)
        broker.start()
        stack.callback(broker.kill)
        plain = RunOptions(json_lines=(str(place / "found.jsonl"),), backend="onnxruntime")
        alone = GrowthSink(max(1, arguments.alone // _SAMPLES))
        first = one_run(bundle, replace(plain, max_frames=arguments.alone), alone, arguments.rate, viewed=False)
        before = report("JSON lines alone", first, alone)
        growth = GrowthSink(max(1, arguments.frames // _SAMPLES))
        options = everything(replace(plain, max_frames=arguments.frames), place, broker.port)
        second = one_run(bundle, options, growth, arguments.rate, viewed=True)
        after = report("everything", second, growth)
        print(f"rate with everything: {after / before:.3f} of that with JSON lines alone, {os.cpu_count()} processors")
        lines = (place / "found.jsonl").read_text().count("\n")
        segments = sorted((place / "recordings").rglob("*.mp4"))
        tracks = [sum(one.tracks.values()) for one in second.tracked]
        print(
            f"{lines} JSON lines, {len(segments)} segments of {sum(one.stat().st_size for one in segments) / 1e6:.1f} "
            f"MB kept; ids of each stream: {tracks}"
        )
        shutil.rmtree(place / "recordings")


if __name__ == "__main__":
    main()
