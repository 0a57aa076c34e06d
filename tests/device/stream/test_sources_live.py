"""Cameras and streams: lost and found again, refused with the cause, and never with a password."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.pipeline import Pipeline
from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.camera_errors import camera_error
from rkdeploy.device.stream.sources.live import LiveCapture
from rkdeploy.device.stream.sources.network_stream import NetworkStream
from rkdeploy.device.stream.sources.several import combined
from rkdeploy.device.stream.sources.stream_address import host_and_port, is_stream_address, redacted
from rkdeploy.errors import SourceError
from tests.device.stream.stand_ins import SPEC, THRESHOLDS, WAIT_S, ListSink, StandInRuntime
from tests.threads import no_thread_stays

SOON = Backoff(0.02, 0.05)


class FakeCapture:
    """A capture that gives some frames, then fails like OpenCV's does."""

    def __init__(self, frames: int, rate: float = 30.0) -> None:
        self.left = frames
        self.rate = rate
        self.released = False

    def get(self, _key: int) -> float:
        return self.rate

    def read(self) -> tuple[bool, np.ndarray | None]:  # type: ignore[type-arg]
        assert not self.released
        self.left -= 1
        return (True, np.zeros((4, 6, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def live(captures: list[FakeCapture | SourceError], told: list[str] | None = None) -> LiveCapture:
    def open_next() -> FakeCapture:
        capture = captures.pop(0)
        if isinstance(capture, SourceError):
            raise capture
        return capture

    notify = None if told is None else told.append
    return LiveCapture("cam", open_next, backoff=Backoff(0.0, 0.0), notify=notify)


def test_a_lost_source_is_opened_again() -> None:
    """Frames continue with the next index after any delay; the user is notified of the loss and its end, once each."""
    told: list[str] = []
    first, silent, second = FakeCapture(3), FakeCapture(0), FakeCapture(100)
    source = live([first, SourceError("no"), silent, SourceError("no"), second], told)
    with source as frames:
        got = [next(frames) for _ in range(6)]
    assert [frame.index for frame in got] == list(range(6))
    times = [frame.timestamp_ms or 0.0 for frame in got]
    assert times == sorted(times)
    assert source.reconnects == 2
    assert source.live
    assert first.released
    assert silent.released
    assert second.released
    assert len(told) == 2
    assert "reconnecting" in told[0]
    assert "frames again" in told[1]


def test_the_first_opening_may_fail() -> None:
    """A source that cannot be opened at all is an error at once."""
    with pytest.raises(SourceError, match="no"), live([SourceError("no")]):
        pass


def test_stop_ends_a_reconnect() -> None:
    """A source that waits to be opened again stops at once on request."""
    lost = threading.Event()
    source = LiveCapture("cam", lambda: FakeCapture(0), backoff=Backoff(3600, 3600), notify=lambda _: lost.set())
    with source as frames:
        reader = threading.Thread(target=lambda: list(frames))
        reader.start()
        assert lost.wait(WAIT_S)
        source.stop()
        reader.join(WAIT_S)
        assert not reader.is_alive()


@pytest.mark.parametrize(("stated", "known"), [(30.0, 30.0), (90000.0, None), (0.0, None), (float("nan"), None)])
def test_only_a_plausible_rate_is_believed(stated: float, known: float | None) -> None:
    """RTSP cameras state their clock, others nothing."""
    source = live([FakeCapture(1, stated)])
    with source:
        assert source.frames_per_second == known


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://10.0.0.7:554/cam", "rtsp://10.0.0.7:554/cam"),
        ("rtsp://admin:secret@10.0.0.7:554/cam", "rtsp://***@10.0.0.7:554/cam"),
        ("rtsp://admin:se@cret@10.0.0.7/cam", "rtsp://***@10.0.0.7/cam"),
        ("RTSP://admin:se/cr@et@cam.local/1", "RTSP://***@cam.local/1"),
        ("http://admin@host/video", "http://***@host/video"),
        ("http://host/v?user=admin&password=secret&x=1", "http://host/v?user=***&password=***&x=1"),
        ("rtsp://host/user=admin_password=secret_channel=1.sdp", "rtsp://host/user=***_password=***_channel=1.sdp"),
        ('Cannot open "rtsp://u:secret@h/x".', 'Cannot open "rtsp://***@h/x".'),
        ("images/*.jpg", "images/*.jpg"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    """User and password of an address, and parameters that hold some, become stars; the rest stays."""
    assert redacted(text) == shown
    assert "secret" not in redacted(text)


def test_addresses() -> None:
    """Texts that are addresses, and texts that are paths."""
    assert is_stream_address("rtsp://host/x")
    assert is_stream_address("HTTP://host/x")
    assert not is_stream_address("folder/video.mp4")
    assert host_and_port("rtsp://u:p@cam:554/x") == "cam:554"
    assert host_and_port("rtsp://cam/x") == "cam"
    assert host_and_port("rtsp://cam:port/x") == ""
    with pytest.raises(SourceError, match=r'unknown scheme "ftp"') as caught:
        open_source("ftp://user:secret@host/x")
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("video_package")
def test_a_stream_that_is_not_there() -> None:
    """The error says what may be wrong, without the password."""
    source = open_source("rtsp://admin:secret@127.0.0.1:1/cam")
    with pytest.raises(SourceError, match=r'Stream "rtsp://\*\*\*@127.0.0.1:1/cam" cannot be opened') as caught, source:
        pass
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1 is not reachable" in caught.value.hint


class Mjpeg:
    """A loopback camera: motion JPEG over HTTP, its frames as fast as they are read; can be ended and started again."""

    def __init__(self) -> None:
        self.port = 0
        self.served = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        encoded = [cv2.imencode(".jpg", np.full((48, 64, 3), 20 * i, np.uint8))[1].tobytes() for i in range(10)]
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
                self.end_headers()
                try:
                    while not camera._stopping.wait(0.005):
                        data = encoded[camera.served % 10]
                        head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        camera.served += 1
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler

    def start(self) -> None:
        self._stopping.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self._server.daemon_threads = False
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


@pytest.fixture
def mjpeg() -> Iterator[Mjpeg]:
    camera = Mjpeg()
    camera.start()
    yield camera
    camera.stop()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 2 * WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.005)


def run_through_a_restart(url: str, stop: Callable[[], None], start: Callable[[], None]) -> None:
    """Run a stream, end its server, start it again: the run goes on, and every frame is accounted for."""
    sink = ListSink()
    told: list[str] = []
    source = NetworkStream(url, open_timeout_ms=3000, read_timeout_ms=1500, backoff=SOON, notify=told.append)
    with no_thread_stays("rkdeploy"), source as frames:
        runtimes = [BlindRuntime(), BlindRuntime()]
        pipeline = Pipeline(source, frames, runtimes, SPEC, THRESHOLDS, [sink])
        with pipeline:
            until(lambda: len(sink.indices) >= 5)
            stop()
            until(lambda: any("reconnecting" in text for text in told))
            at_loss = len(sink.indices)
            start()
            until(lambda: len(sink.indices) >= at_loss + 5)
            assert not pipeline.wait(0)
    stats = pipeline.stats()
    assert stats.reconnects >= 1
    assert stats.failed == 0
    assert stats.captured == stats.processed + stats.dropped
    assert stats.processed == len(sink.indices)
    assert sink.indices == sorted(set(sink.indices))
    assert source.live
    assert "secret" not in f"{told} {source.text}"


class BlindRuntime(StandInRuntime):
    """Takes pictures of any content."""

    def infer(self, image: np.ndarray) -> tuple:  # type: ignore[type-arg]
        return super().infer(np.full_like(image, 7))


@pytest.mark.usefixtures("video_package")
class RtspServer:
    """The loopback camera of `rtsp_camera.py`; starting it skips the test where its packages are missing."""

    def __init__(self, port: int) -> None:
        self.url = f"rtsp://user:secret@127.0.0.1:{port}/cam"
        self._command = ["/usr/bin/python3", str(Path(__file__).with_name("rtsp_camera.py")), str(port)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._process = process
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            process.kill()
            pytest.skip(f"no gst-rtsp-server (bash tests/needs.sh): {process.communicate()[1][-200:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def test_an_http_camera_that_is_restarted(mjpeg: Mjpeg) -> None:
    """Motion JPEG over HTTP: the camera goes away and comes back during a run, which goes on."""
    run_through_a_restart(f"http://user:secret@127.0.0.1:{mjpeg.port}/video", mjpeg.stop, mjpeg.start)


@pytest.mark.slow
@pytest.mark.usefixtures("video_package")
def test_an_rtsp_camera_that_is_restarted() -> None:
    """The same over RTSP, with Debian's gst-rtsp-server as the camera."""
    camera = RtspServer(18_554 + os.getpid() % 1000)
    camera.start()
    try:
        run_through_a_restart(camera.url, camera.stop, camera.start)
    finally:
        camera.stop()


@pytest.mark.slow
def test_an_rtsp_server_that_is_restarted_under_one_of_four_streams() -> None:
    """Three streams of one server go on at their rate while the server of the fourth is gone; then it comes back."""
    port = 19_554 + os.getpid() % 1000
    steady, restarted = RtspServer(port), RtspServer(port + 1000)
    steady.start()
    restarted.start()
    streams = [NetworkStream(f"{steady.url}?{n}", read_timeout_ms=1500, backoff=SOON) for n in range(3)]
    streams.append(NetworkStream(restarted.url, open_timeout_ms=3000, read_timeout_ms=1500, backoff=SOON))
    source = combined(streams)

    def captured() -> list[int]:
        return [one.captured for one in pipeline.stats().sources]

    try:
        with source as frames, Pipeline(source, frames, [BlindRuntime()], SPEC, THRESHOLDS, [ListSink()]) as pipeline:
            until(lambda: min(captured()) >= 5)
            restarted.stop()
            time.sleep(1.5)  # what was received before is read at once, faster than at the camera's rate
            lost_s, before = time.monotonic(), captured()
            time.sleep(2.0)
            rates = [(now - then) / (time.monotonic() - lost_s) for now, then in zip(captured(), before, strict=True)]
            restarted.start()
            until(lambda: streams[3].reconnects > 0 and captured()[3] >= before[3] + 10)
    finally:
        steady.stop()
        restarted.stop()
    assert min(rates[:3]) > 10, rates  # they bring 15 per second
    assert rates[3] == 0, rates
    assert [one.reconnects for one in streams[:3]] == [0, 0, 0]


def device(root: Path, name: str) -> Path:
    path = root / "dev" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def test_no_camera_at_all(tmp_path: Path) -> None:
    """Without any video device the error says so, and where else cameras are."""
    (tmp_path / "dev").mkdir()
    error = camera_error(0, tmp_path)
    assert "no /dev/video*" in error.message
    assert "rtsp://" in error.hint


def test_another_camera(tmp_path: Path) -> None:
    """The numbers that exist are listed, in their order."""
    for name in ("video11", "video2", "video-dec0"):
        device(tmp_path, name)
    error = camera_error(0, tmp_path)
    assert 'there is no "/dev/video0"' in error.message
    assert "There are: /dev/video2, /dev/video11." in error.hint


@pytest.mark.parametrize(
    ("code", "says", "hint"),
    [
        (errno.EACCES, "no permission", "usermod -aG video"),
        (errno.EBUSY, "is in use", "End the other program"),
        (errno.ENODEV, "No such device", "dmesg"),
        (0, "gives no pictures", "rkdeploy doctor"),
    ],
)
def test_why_a_camera_does_not_open(
    code: int, says: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device's own errno decides what the user reads."""
    path = device(tmp_path, "video0")
    real = os.open

    def refuse(target: str | Path, flags: int, *rest: int) -> int:
        if code and Path(target) == path:
            raise OSError(code, os.strerror(code))
        return real(target, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    error = camera_error(0, tmp_path)
    assert says in error.message
    assert hint in error.hint


def test_who_uses_a_camera(tmp_path: Path) -> None:
    """A program that has the device open is named."""
    device(tmp_path, "video0")
    (tmp_path / "proc" / "4712" / "fd").mkdir(parents=True)
    (tmp_path / "proc" / "4712" / "comm").write_text("cheese\n")
    (tmp_path / "proc" / "4712" / "fd" / "5").symlink_to("/dev/video0")
    (tmp_path / "proc" / "4713").mkdir()
    assert "in use by cheese (process 4712)" in camera_error(0, tmp_path).message


def test_a_camera_on_a_machine_without(capfd: pytest.CaptureFixture[str]) -> None:
    """The real thing: OpenCV cannot open it, and one error comes out."""
    number = 63
    assert not Path(f"/dev/video{number}").exists()
    with pytest.raises(SourceError, match=f"Camera {number} cannot be opened"), Camera(number, size_wh=(640, 480)):
        pass
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
