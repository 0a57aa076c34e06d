"""Results to a web address: retries, refusals, and that the run never waits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from rkdeploy.device.messages.newest_results import NewestResults, StreamResult
from rkdeploy.device.messages.webhook_sink import WebhookSink
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.errors import RkdeployError
from tests.device.messages.broker import free_port, until

FOUND = Detections(np.array([[1, 2, 30, 40]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32))


class Server(HTTPServer):
    """Keeps the bodies, and answers with the next code; the last one for ever."""

    codes: list[int]
    bodies: list[dict[str, object]]


class Handler(BaseHTTPRequestHandler):
    """One post."""

    server: Server

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.codes.pop(0) if len(self.server.codes) > 1 else self.server.codes[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that takes posts."""
    with Server(("127.0.0.1", 0), Handler) as one:
        one.codes, one.bodies = [204], []
        thread = threading.Thread(target=one.serve_forever, args=(0.02,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def frame(index: int = 0, origin: int = 0) -> Frame:
    return Frame(np.zeros((48, 64, 3), np.uint8), f"cam{origin}", index, origin=origin)


def sink_of(port: int, told: list[str]) -> WebhookSink:
    return WebhookSink(f"http://127.0.0.1:{port}/hook?key=secret", ("bolt",), every_s=0.0, notify=told.append)


def test_results_with_detections_are_posted(server: Server) -> None:
    """Each as the JSON object of `run --json`; one without detections is not."""
    with sink_of(server.server_port, []) as sink:
        sink.write(frame(1), Detections.empty())
        sink.write(frame(2), FOUND)
        until(lambda: sink.sent == 1, "sent")
    assert [(body["frame"], len(body["detections"])) for body in server.bodies] == [(2, 1)]  # type: ignore[arg-type]  # a list


def test_a_post_is_repeated_until_it_is_taken(server: Server) -> None:
    """An error of the server is reported once; the same result comes again."""
    told: list[str] = []
    server.codes = [503, 429, 200]
    with sink_of(server.server_port, told) as sink:
        sink.write(frame(5), FOUND)
        until(lambda: sink.sent == 1, "sent")
    assert [body["frame"] for body in server.bodies] == [5, 5, 5]
    assert told == ["http://127.0.0.1 does not take results: HTTP 503.", "http://127.0.0.1 takes results again."]


def test_a_refused_post_is_not_repeated(server: Server) -> None:
    """404 does not get better."""
    told: list[str] = []
    server.codes = [404]
    with sink_of(server.server_port, told) as sink:
        sink.write(frame(5), FOUND)
        until(lambda: sink.lost == 1, "lost")
    assert len(server.bodies) == 1
    assert told == [
        "http://127.0.0.1 does not take results: HTTP 404.",
        "http://127.0.0.1: 0 results sent, 1 lost.",
    ]


def test_a_server_that_is_not_there_holds_no_one() -> None:
    """Writing takes no time, the end comes at once, and what was lost is counted."""
    told: list[str] = []
    begun = time.monotonic()
    with sink_of(free_port(), told) as sink:
        for index in range(500):
            sink.write(frame(index), FOUND)
        until(lambda: told, "told")
    assert time.monotonic() - begun < 5
    assert told[0] == "http://127.0.0.1 does not take results: Connection refused."
    assert sink.lost in (1, 2)
    assert "secret" not in "".join(told)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "10.0.0.1/x", "ftp://h/x", "http://"])
def test_other_addresses_are_refused(address: str) -> None:
    """Nothing but the web."""
    with pytest.raises(RkdeployError, match="is not http"):
        WebhookSink(address, ("bolt",))


def test_the_newest_result_of_each_stream_wins() -> None:
    """At most one per interval and stream; what waits at the end is taken at once."""
    results, end = NewestResults(every_s=30.0), time.monotonic() + 5
    for index in range(3):
        for origin in (0, 1):
            results.put(StreamResult.of(frame(index, origin), FOUND))
    assert [(one.origin, one.index) for one in (results.take(), results.take()) if one] == [(0, 2), (1, 2)]
    assert results.replaced == 4
    results.put(StreamResult.of(frame(9), FOUND))
    threading.Timer(0.1, results.close).start()
    last = results.take()
    assert last is not None
    assert last.index == 9
    assert results.take() is None
    assert time.monotonic() < end
