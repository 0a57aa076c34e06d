"""A live view on a free port of the loopback, and clients for it that need nothing but sockets."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.statistics import PipelineStats, SourceStats, StageTimer
from rkdeploy.device.web.listening_address import parse_address
from rkdeploy.device.web.view import WebView
from tests.device.stream.stand_ins import SPEC, WAIT_S

NAMES = ("bolt", "nut", "<b>washer</b>")
__all__ = ["NAMES", "SPEC", "WAIT_S"]


def picture(index: int, side: int = 64) -> Frame:
    """A frame whose color is its index, noisy enough to fill sockets."""
    image = np.random.default_rng(index).integers(0, 256, (side, side, 3), np.uint8)
    image[: side // 2] = index % 256
    return Frame(image, "camera 0", index, index * 40.0)


def one_box(class_id: int = 1, side: int = 64) -> Detections:
    """One object in the middle."""
    box = np.array([[side / 4, side / 4, side / 2, side / 2]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([class_id], np.int32))


def stats(frames: int = 120) -> PipelineStats:
    """Figures of a run."""
    recorder = StageTimer()
    for i in range(50):
        for stage, ms in (("capture", 2), ("preprocess", 1), ("context", 0.1), ("infer", 21), ("decode", 1.5),
                          ("sink", 0.4), ("age", 40 + i / 5)):  # fmt: skip
            recorder.add(stage, ms / 1e3)
    return PipelineStats(frames + 9, frames, 1, 3, 5, 1, 2, 3, 2, 47.3, 60.0, "rknn_run answered -1", recorder.stages())


def stats_of(names: Sequence[str], frames: Sequence[int]) -> PipelineStats:
    """Figures of a run of several streams: so many frames of each; the second one lost frames and its connection."""
    of = [
        SourceStats(name, count + 2 * at, count, 0, at, at, at, 10.0 + at)
        for at, (name, count) in enumerate(zip(names, frames, strict=True))
    ]
    return replace(stats(sum(frames)), sources=tuple(of))


def page_pictures(answer: http.client.HTTPResponse) -> Iterator[tuple[dict[str, Any], np.ndarray[Any, Any]]]:
    """The facts and decoded pictures of /pictures."""

    def part() -> bytes:
        return answer.read(int.from_bytes(answer.read(4), "big"))

    while facts := part():
        decoded = cv2.imdecode(np.frombuffer(part(), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        yield json.loads(facts), decoded


@contextmanager
def view_on(address: str = "127.0.0.1:0", token: str | None = None, **options: Any) -> Iterator[WebView]:
    """An open view; when it is left, none of its threads is there any more."""
    view = WebView(parse_address(address), token, NAMES, title="best-rk3588-int8", source="camera 0", **options)
    with view:
        yield view
    assert not threads(), "the server's threads outlive the view"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rkdeploy-web")]


def get(
    view: WebView, path: str, headers: dict[str, str] | None = None, *, host: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, and body."""
    connection = http.client.HTTPConnection(host, view.port, timeout=WAIT_S)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def get_json(view: WebView, path: str) -> Any:
    return json.loads(get(view, path)[2])


@contextmanager
def streaming(view: WebView, path: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that goes on; `read1` gives what there is."""
    connection = http.client.HTTPConnection("127.0.0.1", view.port, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        yield connection.getresponse()
    finally:
        connection.close()


def parts(answer: http.client.HTTPResponse) -> Iterator[np.ndarray[Any, Any]]:
    """The decoded pictures of /stream."""
    while line := answer.readline():
        if line.startswith(b"Content-Length:"):
            size = int(line.split(b":")[1])
            assert answer.readline() == b"\r\n"
            decoded = cv2.imdecode(np.frombuffer(answer.read(size), np.uint8), cv2.IMREAD_COLOR)
            assert decoded is not None
            yield decoded


def silent_viewer(view: WebView, path: str = "/stream") -> socket.socket:
    """Asks, and never reads; with next to no room for what it does not read."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.connect(("127.0.0.1", view.port))
    viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return viewer


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
