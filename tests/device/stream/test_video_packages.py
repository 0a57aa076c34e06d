"""Video by PyAV and by OpenCV: the same frames; the choice between them; hardware that fails under way."""

from __future__ import annotations

import builtins
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from rkdeploy.device.stream.sources import open_source, video_capture
from rkdeploy.device.stream.sources.decoders import decoders_of
from rkdeploy.device.stream.sources.hardware_decoder import HardwareDecoder, node_problem
from rkdeploy.device.stream.sources.network_stream import NetworkStream
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE, video_package
from rkdeploy.device.stream.sources.video_decoder import RecentPackets
from rkdeploy.device.stream.sources.video_file import VideoFile
from rkdeploy.errors import SourceError

COUNT, KEY_EVERY = 40, 10
_IDENTITY = b"\0\1\0\0" + bytes(12) + b"\0\1\0\0" + bytes(12) + b"\x40\0\0\0"
_QUARTER = bytes(4) + b"\0\1\0\0" + bytes(4) + b"\xff\xff\0\0" + bytes(16) + b"\x40\0\0\0"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with B frames and a key frame each 10, 64x48, 25 frames per second, brighter from frame to frame."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": str(KEY_EVERY), "bf": "2", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(COUNT):
            image = np.full((48, 64, 3), 40 + 4 * i, np.uint8)
            image[:16, :16] = 0  # the corner that shows how a picture is turned
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def frames_by(package: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv(VIDEO_VARIABLE, package)
    with open_source(str(path)) as frames:
        return list(frames)


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "turned"])
def test_both_packages_give_the_same_frames(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: bool
) -> None:
    """Pixels, times and number of frames are equal, also of a video that a phone turned by a quarter."""
    data = clip.read_bytes()
    track = data.index(b"tkhd")
    at = data.index(_IDENTITY, track)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data[:at] + (_QUARTER if turned else _IDENTITY) + data[at + 36 :])
    ours, theirs = (frames_by(package, path, monkeypatch) for package in ("pyav", "opencv"))
    assert len(ours) == len(theirs) == COUNT
    assert ours[0].image.shape == ((64, 48, 3) if turned else (48, 64, 3))
    for one, other in zip(ours, theirs, strict=True):
        assert one.timestamp_ms == pytest.approx(other.timestamp_ms)
        assert np.abs(one.image.astype(int) - other.image).max() <= 2


class FailingDecoder:
    """A hardware decoder that gives some frames of a software one, then fails as a lost device does."""

    name = "h264_rkmpp"

    def __init__(self, stream: Any, packets: int) -> None:
        av = import_module("av")
        self._error = av.error.ExternalError(542398533, "Generic error in an external library")
        self._inner = av.CodecContext.create("h264", "r")
        self._inner.extradata = stream.codec_context.extradata
        self._left = packets

    def decode(self, packet: Any) -> list[Any]:
        self._left -= 1
        if self._left < 0:
            raise self._error
        frames: list[Any] = self._inner.decode(packet)
        return frames


@pytest.mark.parametrize("packets", [0, 1, 9, 11, 25, 100])
def test_hardware_that_fails_leaves_no_gap(clip: Path, monkeypatch: pytest.MonkeyPatch, packets: int) -> None:
    """Decoding goes on in software: each frame once, in order, with one note; without a failure there is none."""
    whole = frames_by("software", clip, monkeypatch)
    monkeypatch.setenv(VIDEO_VARIABLE, "pyav")
    from rkdeploy.device.stream.sources import pyav_capture

    monkeypatch.setattr(
        pyav_capture, "hardware_decoder", lambda stream: HardwareDecoder(FailingDecoder(stream, packets))
    )
    told: list[str] = []
    source = VideoFile("v", clip, told.append)
    with source as frames:
        assert source.decoder.endswith("h264_rkmpp")
        assert decoders_of(source) == (source.decoder,)
        got = list(frames)
    assert [frame.timestamp_ms for frame in got] == [frame.timestamp_ms for frame in whole]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(got, whole, strict=True))
    assert len(told) == (packets < COUNT)
    assert all("h264_rkmpp failed" in text and "in software" in text for text in told)


def test_hardware_is_tried_where_the_package_has_it(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that cannot be opened is passed over, and the first line says why; `software` does not try."""
    av = pytest.importorskip("av")
    tried: list[str] = []

    class Contexts:
        @staticmethod
        def create(name: str, _mode: str) -> Any:
            tried.append(name)
            return SimpleNamespace(open=refuse)

    def refuse(**_: bool) -> None:
        av.logging.log(av.logging.ERROR, "h264_rkmpp", "Failed to init MPP context: -1")
        raise av.error.ExternalError(542398533, "Generic error in an external library")

    from rkdeploy.device.stream.sources import hardware_decoder

    board = SimpleNamespace(codecs_available={"h264_rkmpp"}, CodecContext=Contexts, error=av.error, logging=av.logging)
    monkeypatch.setattr(hardware_decoder, "import_module", lambda _name: board)
    assert len(frames_by("software", clip, monkeypatch)) == COUNT
    assert tried == []
    source = VideoFile("v", clip)
    monkeypatch.setenv(VIDEO_VARIABLE, "pyav")
    with source as frames:
        assert source.decoder.endswith(
            "h264 in software (h264_rkmpp cannot be opened: Failed to init MPP context: -1; "
            "/dev/mpp_service: No such file or directory)"
        )
        assert len(list(frames)) == COUNT
    assert tried == ["h264_rkmpp"]


def test_the_problem_of_a_device_node(tmp_path: Path) -> None:
    """Missing, closed to this user, or usable."""
    assert node_problem(str(tmp_path / "none")) == f"{tmp_path / 'none'}: No such file or directory"
    assert node_problem("/dev/null") == ""
    assert node_problem(str(tmp_path)) == f"{tmp_path}: Is a directory"


def test_what_is_kept_for_another_decoder() -> None:
    """Two groups of pictures, from a key frame on; nothing where they are too large."""
    recent = RecentPackets()
    for i in range(35):
        recent.add(SimpleNamespace(is_keyframe=i % 10 == 0, size=1, number=i))
    assert [one.number for one in recent.take()] == list(range(20, 35))
    assert recent.take() == []
    for i in range(9):
        recent.add(SimpleNamespace(is_keyframe=i == 0, size=4 << 20, number=i))
    assert recent.take() == []


def test_damaged_pictures_are_passed_over(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise inside of a file costs the pictures there and ends nothing; what is missing is said as of a cut file."""
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (data.index(b"moov") - start) // 2
    data[middle : middle + 60] = bytes(60)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    monkeypatch.setenv(VIDEO_VARIABLE, "pyav")
    seen = 0
    try:
        with open_source(str(path)) as frames:
            for _ in frames:
                seen += 1
    except SourceError as error:
        assert "cannot be decoded from frame" in error.message  # noqa: PT017 - either end is right
    assert seen > COUNT // 2


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV where it is installed, else OpenCV; the variable decides otherwise, or is refused."""
    monkeypatch.setenv(VIDEO_VARIABLE, "opencv")
    assert video_package() == f"OpenCV {cv2.__version__}"
    monkeypatch.setenv(VIDEO_VARIABLE, "ffmpeg")
    with pytest.raises(SourceError, match='RKDEPLOY_VIDEO is "ffmpeg", expected "pyav", "software" or "opencv"'):
        video_package()

    def absent(name: str) -> Any:
        raise builtins.ImportError(f"no {name}")

    monkeypatch.setattr(video_capture, "import_module", absent)
    monkeypatch.delenv(VIDEO_VARIABLE)
    assert video_package() == f"OpenCV {cv2.__version__}"
    monkeypatch.setenv(VIDEO_VARIABLE, "pyav")
    with pytest.raises(SourceError, match=r"PyAV cannot be imported: no av") as caught:
        video_package()
    assert "rkdeploy[video]" in caught.value.hint


@pytest.mark.usefixtures("video_package")
def test_a_silent_server_is_given_up_in_time() -> None:
    """A server that accepts and says nothing is an error after the time allowed, without a password."""

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(1.5)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    source = NetworkStream(f"http://u:secret@127.0.0.1:{server.server_port}/v", open_timeout_ms=300)
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"cannot be opened within 0\.3 s") as caught, source:
        pass
    server.shutdown()
    server.server_close()
    assert time.monotonic() - started < 3
    assert "secret" not in str(caught.value)


def test_options_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's variable holds for both packages."""
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    assert video_capture._stream_options() == {"rtsp_transport": "tcp"}
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp|max_delay;500000|")
    assert video_capture._stream_options() == {"rtsp_transport": "udp", "max_delay": "500000"}
