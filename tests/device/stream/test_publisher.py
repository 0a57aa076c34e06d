"""Video that is sent to servers: what arrives, and servers that refuse, hang, end and come back."""

from __future__ import annotations

import io
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.sinks import open_save_folder
from rkdeploy.device.stream.sources import open_source, open_sources
from rkdeploy.device.stream.video_out import publisher
from rkdeploy.device.stream.video_out.h264_encoder import H264Encoder
from rkdeploy.device.stream.video_out.publish_address import is_publish_address, publish_address
from rkdeploy.device.stream.video_out.publisher import Publisher
from rkdeploy.device.stream.video_out.recording_options import RecordingOptions
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S, VideoFormat, VideoPacket
from rkdeploy.errors import RkdeployError
from tests.cli.test_run import run, write_video
from tests.device.stream.stand_ins import WAIT_S
from tests.device.stream.test_video_out import ENCODER, NOTHING, picture, sink

av = pytest.importorskip("av")

SOON = Backoff(0.02, 0.05)


def publisher_to(url: str, told: list[str], *, paced: bool = False) -> Publisher:
    return Publisher(publish_address(url, "cam"), paced=paced, notify=told.append, backoff=SOON)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def listening(serve: Callable[[socket.socket], Any]) -> Iterator[int]:
    """A TCP server on the loopback that calls `serve` for each connection; gives its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        thread.join()


def datagrams(receiver: socket.socket) -> Iterator[bytes]:
    with suppress(TimeoutError):
        while True:
            yield receiver.recv(65536)


def read_all(connection: socket.socket, into: bytearray, most: int = 1 << 30) -> None:
    with connection:
        while len(into) < most and (data := connection.recv(65536)):
            into += data


def frames_in(data: bytes, container: str) -> int:
    with av.open(io.BytesIO(data), format=container) as opened:
        return sum(1 for _ in opened.decode(video=0))


def test_frames_arrive_over_udp() -> None:
    """As MPEG-TS in packets of 1316 bytes, which VLC and ffplay take as udp://@:PORT; a file in its own time."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(WAIT_S)
        told: list[str] = []
        sending = publisher_to(f"udp://127.0.0.1:{receiver.getsockname()[1]}", told, paced=True)
        began = time.monotonic()
        with sink(sending) as video:
            for i in range(30):
                video.write(picture(i, 40 * i), NOTHING)
        assert time.monotonic() - began >= 29 * 0.04
        receiver.settimeout(0.1)
        packets = list(datagrams(receiver))
    assert {len(one) % 188 for one in packets} == {0}
    assert max(map(len, packets)) <= 1316
    assert frames_in(b"".join(packets), "mpegts") == 30
    assert (sending.sent, sending.dropped, told) == (30, 0, [])


def test_frames_arrive_at_an_rtsp_server(tmp_path: Path) -> None:
    """GStreamer's RTSP server takes them by RECORD; restarted under the run, it gets them again from a key frame on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    target = tmp_path / "got.h264"
    program = str(Path(__file__).with_name("rtsp_recorder.py"))
    told: list[str] = []

    def start() -> subprocess.Popen[str]:
        command = ["/usr/bin/python3", program, str(port), str(target)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            pytest.skip("gst-rtsp-server is missing")
        return server

    def kill(server: subprocess.Popen[str]) -> None:
        server.kill()
        server.communicate()

    server = start()
    sending = publisher_to(f"rtsp://127.0.0.1:{port}/live", told)
    with sink(sending, live=True) as video:
        feed = Feed(video.write)
        wait_for(lambda: sending.sent >= 20)
        wait_for(lambda: target.exists() and target.stat().st_size > 0)
        kill(server)
        wait_for(lambda: len(told) == 1)
        first = target.stat().st_size
        server = start()
        again = sending.sent
        wait_for(lambda: sending.sent >= again + 30)
        feed.stop()
    time.sleep(0.2)
    kill(server)
    assert sending.reconnects == 1
    assert "video is not sent" in told[0]
    assert "sent again" in told[1]
    assert f"{sending.dropped} of {sending.sent + sending.dropped} frames were not sent" in told[2]
    assert frames_in(target.read_bytes()[first:], "h264") >= 15  # of 30; the server drops some at its start


class Feed:
    """Frames at 50 per second from a thread of their own, as a camera gives them.

    Attributes:
        longest_s: of all calls of the sink.
    """

    def __init__(self, write: Callable[[Any, Any], None]) -> None:
        self._write, self._ended = write, threading.Event()
        self.longest_s = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        index = 0
        while not self._ended.wait(0.02):
            began = time.monotonic()
            self._write(picture(index, 20 * index), NOTHING)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            index += 1

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_a_server_that_never_answers_holds_nothing(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts and reads, and no answer comes: given up after the limit, and neither a frame nor the end waits."""
    monkeypatch.setattr(publisher, "_OPEN_S", 1.0)
    monkeypatch.setattr(publisher, "_END_S", 0.3)
    told: list[str] = []
    accepted = threading.Event()

    def hold(connection: socket.socket) -> None:
        accepted.set()
        read_all(connection, bytearray())

    with listening(hold) as port:
        sending = publisher_to(f"{scheme}://user:secret@127.0.0.1:{port}/live/x", told)
        with sink(sending, live=True) as video:
            feed = Feed(video.write)
            assert accepted.wait(WAIT_S)
            wait_for(lambda: bool(told))
            feed.stop()
            began = time.monotonic()
        assert time.monotonic() - began < 3
    assert feed.longest_s < 0.5
    assert told[0].startswith(f"{scheme}://***@127.0.0.1:{port}/live/x: video is not sent (no answer for 1 s)")
    assert sending.sent == 0
    assert sending.dropped > 0
    assert "secret" not in "".join(told)


def packets(video: VideoFormat, count: int, size: int) -> Iterator[VideoPacket]:
    """Key pictures with filler data, 25 per second."""
    filler = b"\0\0\0\1\x0c" + b"\xff" * size + b"\x80"
    for i in range(count):
        yield VideoPacket(video.head + filler, i * TICKS_PER_S // 25, TICKS_PER_S // 25, key=True)


def one_format() -> VideoFormat:
    encoder = H264Encoder(["libx264"], (64, 48), 25, lambda _text: None)
    encoder.encode(picture(0).image, 0)
    assert encoder.format is not None
    return encoder.format


def test_a_server_that_stops_reading_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose buffers are full: given up after the limit; packets are dropped, and the memory is bounded."""
    monkeypatch.setattr(publisher, "_SEND_S", 0.5)
    monkeypatch.setattr(publisher, "_END_S", 0.3)
    told: list[str] = []
    held: list[socket.socket] = []
    with listening(held.append) as port:
        sending = publisher_to(f"tcp://127.0.0.1:{port}", told)
        sending.open()
        video = one_format()
        sending.begin(video)
        longest = 0.0
        for packet in packets(video, 200, 300_000):
            began = time.monotonic()
            sending.take(packet)
            longest = max(longest, time.monotonic() - began)
            assert sending._bytes <= publisher._MOST_BYTES
            time.sleep(0.005)
        wait_for(lambda: bool(told))
        sending.end(whole=True)
    assert longest < 0.5
    assert "no answer for 0.5 s" in told[0]
    assert sending.dropped > 50


def test_a_server_that_ends_is_connected_again() -> None:
    """Each connection begins with a key picture, and can be decoded by itself."""
    got: list[bytearray] = []

    def serve(connection: socket.socket) -> None:
        got.append(bytearray())
        read_all(connection, got[-1], 5_000 if len(got) == 1 else 1 << 30)

    told: list[str] = []
    with listening(serve) as port:
        sending = publisher_to(f"tcp://127.0.0.1:{port}", told)
        with sink(sending, live=True) as video:
            feed = Feed(video.write)
            wait_for(lambda: sending.reconnects >= 1 and len(got) > 1 and len(got[-1]) > 20_000)
            feed.stop()
        wait_for(lambda: frames_in(bytes(got[-1]), "mpegts") > 0)
    assert "it is tried again" in told[0]
    assert "is sent again" in told[1]


def test_no_server_is_tried_again_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection: one message, attempts without an end, and none of them holds a frame."""
    monkeypatch.setattr(publisher, "_END_S", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    told: list[str] = []
    sending = publisher_to(f"rtmp://127.0.0.1:{port}/live/x", told)
    with sink(sending, live=True) as video:
        feed = Feed(video.write)
        wait_for(lambda: sending._failures >= 2)
        feed.stop()
    assert "Connection refused" in told[0]
    assert len(told) == 2
    assert feed.longest_s < 0.5


def test_a_protocol_that_is_missing_ends_the_run() -> None:
    """FFmpeg without it will never send: that is an error, not a server to wait for."""
    address = publish_address("udp://127.0.0.1:9", "cam")
    unknown = type(address)("nosuch://127.0.0.1:9", "nosuch://127.0.0.1:9", address.format_name, address.options)
    sending = Publisher(unknown, paced=False, notify=lambda _text: None, backoff=SOON)

    def send() -> None:
        with sink(sending, live=True) as video:
            feed = Feed(video.write)
            wait_for(lambda: sending._error is not None)
            feed.stop()

    with pytest.raises(RkdeployError, match="cannot be sent to: Protocol not found"):
        send()


def test_addresses() -> None:
    """One of a few schemes; `{stream}` is the name; passwords are in no message; several sources need the name."""
    given = publish_address("rtsp://me:secret@host:8554/{stream}", "gate")
    assert (given.url, given.text) == ("rtsp://me:secret@host:8554/gate", "rtsp://***@host:8554/gate")
    assert given.format_name == "rtsp"
    assert publish_address("udp://10.0.0.9:5000", "x").url.endswith("?pkt_size=1316")
    assert publish_address("srt://host:9000?streamid=a", "x").format_name == "mpegts"
    assert not is_publish_address("found.jsonl")
    assert not is_publish_address("http://host/x")
    with pytest.raises(RkdeployError, match="expected one of rtmp://"):
        publish_address("http://host/x", "gate")
    cameras = open_sources(["rtsp://a/1", "rtsp://b/2"], [])
    recording = RecordingOptions(publish=("rtsp://host/live",))
    with pytest.raises(RkdeployError, match="2 sources cannot be sent to one address"):
        open_save_folder(None, cameras, (), ENCODER, recording=recording)
    with pytest.raises(RkdeployError, match="--publish needs an encoder"):
        open_save_folder(None, open_source("rtsp://a/1"), (), recording=recording)


def test_a_run_that_sends_and_saves_nothing(tmp_path: Path) -> None:
    """`-o udp://...` sends the video of a file; `-o found.jsonl` remains JSON."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        result = run(write_video(tmp_path / "v.avi", 10), "-o", f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        assert result.returncode == 0, result.stderr
        receiver.settimeout(0.1)
        assert receiver.recv(65536)[0] == 0x47
    assert "written by PyAV" in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["v.avi"]
