"""Cost of the live view's viewers for the pipeline.

Three contexts that sleep 15 ms per frame without the GIL stand in for the NPU; letterbox and decode are real.  The
pipeline runs without a view, with a view without viewers, with 20 viewers that never read, with 20 that read
100 kB per second each, with 20 listeners of the detections, and with one browser (stream, detections and figures at
full speed).  The cases take turns in one process; a case's figure is its rate over that of the first case in the same
round, and the median over the rounds.  It does not measure an NPU, only the share of this PC's processors.

    python -m tests.benchmarks.bench_web --frames 600 --rounds 5
"""

from __future__ import annotations

import argparse
import http.client
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.web.listening_address import Address
from rkdeploy.device.web.view import WebView
from tests.benchmarks.bench_decode import Layout, head, head_logits
from tests.benchmarks.bench_pipeline import CONTEXTS, Case, Pictures

VIEWERS = 20


def connected(view: WebView, path: str) -> socket.socket:
    """A viewer that has asked."""
    viewer = socket.create_connection(("127.0.0.1", view.port))
    viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return viewer


@contextmanager
def silent(view: WebView) -> Iterator[None]:
    """20 that never read."""
    with ExitStack() as stack:
        for _ in range(VIEWERS):
            stack.enter_context(connected(view, "/stream"))
        yield


@contextmanager
def reading(view: WebView, path: str, bytes_per_second: float) -> Iterator[None]:
    """20 that read slowly, all from one thread."""
    over = threading.Event()
    with ExitStack() as stack:
        viewers = [stack.enter_context(connected(view, path)) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.setblocking(False)

        def run() -> None:
            while not over.wait(0.1):
                for viewer in viewers:
                    with suppress(BlockingIOError):
                        viewer.recv(int(bytes_per_second / 10))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def one_browser(view: WebView) -> Iterator[None]:
    """The page's pictures as fast as they come, detections, and the figures once a second."""
    over = threading.Event()

    def stream(path: str) -> None:
        with connected(view, path) as viewer:
            viewer.settimeout(0.2)
            while not over.is_set():
                with suppress(TimeoutError):
                    viewer.recv(1 << 20)

    def figures() -> None:
        while not over.wait(1):
            client = http.client.HTTPConnection("127.0.0.1", view.port)
            client.request("GET", "/status")
            client.getresponse().read()
            client.close()

    threads = [threading.Thread(target=stream, args=(path,)) for path in ("/pictures", "/detections")]
    threads.append(threading.Thread(target=figures))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def nobody(_view: WebView) -> Iterator[None]:
    """No viewer."""
    yield


CASES: dict[str, Callable[[WebView], object] | None] = {
    "no view": None,
    "nobody looks": nobody,
    f"{VIEWERS} that never read": silent,
    f"{VIEWERS} at 100 kB/s": lambda view: reading(view, "/stream", 100e3),
    f"{VIEWERS} on detections": lambda view: reading(view, "/detections", 1e6),
    "one browser": one_browser,
}


def rate(case: Case, viewers: Callable[[WebView], object] | None) -> tuple[float, int]:
    """Frames a second, and how many were encoded."""
    with ExitStack() as stack:
        sinks = [case.sink()]
        view = None
        if viewers is not None:
            view = stack.enter_context(WebView(Address("127.0.0.1", 0), None, case.spec.class_names))
            stack.enter_context(viewers(view))  # type: ignore[arg-type]  # a context manager of any kind
            time.sleep(0.2)
        source = Pictures(case.picture, case.frames)
        runtimes = [case.runtime() for _ in range(CONTEXTS)]
        frames = stack.enter_context(source)
        pipeline = Pipeline(
            source, frames, runtimes, case.spec, Thresholds(), [*sinks, *([view] if view else [])]
        )  # fmt: skip
        with pipeline:
            if view is not None:
                view.watch(pipeline.stats, lambda: "a stand-in")
            pipeline.wait()
        stats = pipeline.stats()
        return stats.processed / stats.running_s, view.pictures.encoded if view is not None and view.pictures else 0


def main() -> None:
    """Run and print the table; exit code 1 when 20 viewers that do not read cost 5 % or more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inference-ms", type=float, default=15.0, help="0: the processors are the bottleneck")
    parser.add_argument("--size", type=int, default=640, help="network input, a square")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    levels = head_logits(arguments.size, 80, 8, rng)
    spec, tensors = head(levels, arguments.size, 80, Layout(("anchor_boxes", "anchor_scores")), "int8")
    picture = np.repeat(np.repeat(rng.integers(0, 256, (30, 40, 3), np.uint8), 16, axis=0), 16, axis=1)
    case = Case(spec, tensors, picture, arguments.frames, arguments.inference_ms / 1e3, draws=False)
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    encoded: dict[str, int] = dict.fromkeys(CASES, 0)
    for _ in range(arguments.rounds):
        for name, viewers in CASES.items():
            measured, encoded[name] = rate(case, viewers)
            rates[name].append(measured)
    print(f"{'viewers':>20} {'fps':>7} {'share':>7} {'worst':>7} {'encoded':>8}   ({arguments.frames} frames a round)")
    shares = {}
    for name, found in rates.items():
        ratios = [one / without for one, without in zip(found, rates["no view"], strict=True)]
        shares[name] = statistics.median(ratios)
        print(f"{name:>20} {statistics.median(found):7.1f} {shares[name]:7.1%} {min(ratios):7.1%} {encoded[name]:8}")
    held = min(shares[f"{VIEWERS} that never read"], shares[f"{VIEWERS} at 100 kB/s"]) > 0.95
    print(f"20 slow viewers cost less than 5 %: {'held' if held else 'NOT HELD'}")
    sys.exit(not held)


if __name__ == "__main__":
    main()
