"""Videos as H.264 in fragmented MP4: their frames and times, what a kill or a full disk leaves, a failing encoder."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks import open_save_folder
from rkdeploy.device.stream.sinks.video_writer import VideoSink
from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE
from rkdeploy.device.stream.video_out import encoded_video, h264_encoder
from rkdeploy.device.stream.video_out.encoded_video import EncodedVideoSink
from rkdeploy.device.stream.video_out.h264_encoder import EncoderChoice
from rkdeploy.device.stream.video_out.mp4_files import Mp4Files
from rkdeploy.device.stream.video_out.stream_clock import StreamClock
from rkdeploy.device.stream.video_out.video_packet import PacketReceiver
from rkdeploy.device.stream.video_out.writer_choice import chosen_writer
from rkdeploy.errors import RkdeployError
from tests.device.stream.stand_ins import WAIT_S

av = pytest.importorskip("av")

ENCODER = EncoderChoice("PyAV", ("libx264",))
NOTHING = Detections.empty()


def picture(index: int, at_ms: float | None = None, *, width: int = 64, height: int = 48) -> Frame:
    return Frame(np.full((height, width, 3), 20 + 5 * (index % 40), np.uint8), "cam", index, at_ms)


def sink(*receivers: PacketReceiver, live: bool = False, rate: float = 25, **more: Any) -> EncodedVideoSink:
    given = {"encoder": ENCODER, "notify": lambda _text: None, **more}
    return EncodedVideoSink("cam", (), receivers=receivers, frames_per_second=rate, live=live, **given)


def read(path: Path) -> tuple[list[int], list[float]]:
    """The number of each frame, by its brightness, and its time in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    values = [frame.to_ndarray(format="gray").mean() for frame in frames]
    return [round((value - 20) / 5) for value in values], [float(frame.time) for frame in frames]


def boxes(path: Path) -> list[str]:
    """The kinds of the boxes of an MP4 file, in their order."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        found.append(data[at + 4 : at + 8].decode("ascii"))
        at += int.from_bytes(data[at : at + 4], "big")
    return found


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_a_file_becomes_a_fragmented_video_that_is_whole_or_not_there(tmp_path: Path, width: int, height: int) -> None:
    """All frames at the rate of the source, a fragment per second; the old video stays until then."""
    target = tmp_path / "out" / "v.mp4"
    with sink(Mp4Files(target, at_once=False), rate=12.5) as video:
        for i in range(30):
            video.write(picture(i, width=width, height=height), NOTHING)
        assert not target.exists()
    numbers, times = read(target)
    assert numbers == list(range(30))
    assert times == pytest.approx([i / 12.5 for i in range(30)])
    assert boxes(target) == ["ftyp", "moov", *["moof", "mdat"] * 3, "mfra"]
    assert [path.name for path in target.parent.iterdir()] == ["v.mp4"]
    with av.open(str(target)) as container:  # of a finished file, its header has the length
        assert container.duration == pytest.approx(30 / 12.5 * 1e6, abs=1e3)


@pytest.mark.parametrize("package", ["pyav", "opencv"])
def test_our_own_sources_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """With either package: frames, rate, size less an odd row and column, and H.264 as browsers want it."""
    monkeypatch.setenv(VIDEO_VARIABLE, package)
    target = tmp_path / "v.mp4"
    with sink(Mp4Files(target, at_once=False), rate=12.5) as video:
        for i in range(30):
            video.write(picture(i, width=65, height=49), NOTHING)
    source = open_source(str(target))
    with source as frames:
        assert source.frames_per_second == pytest.approx(12.5)
        assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 30
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.profile) == ("h264", "yuv420p", "High")
        assert context.extradata[0] == 1  # an avcC record: parameter sets in the header


def test_a_live_video_keeps_its_times(tmp_path: Path) -> None:
    """Frames stand where they were captured, early and late ones too; of an hour without frames 10 s are kept."""
    target = tmp_path / "v.mp4"
    at_ms = (5000, 5100, 5110, 5120, 5500, 6000, 6000, 3_606_000, 3_606_300)
    with sink(Mp4Files(target, at_once=True), live=True, rate=10) as video:
        for index, one in enumerate(at_ms):
            time.sleep(0.02)  # as a camera: the thread gets its turn, and nothing is left out
            video.write(picture(index, one), NOTHING)
    numbers, times = read(target)
    assert numbers == list(range(len(at_ms)))
    assert times == pytest.approx([0, 0.1, 0.11, 0.12, 0.5, 1, 1, 11, 11.3], abs=1e-4)
    assert times == sorted(set(times))


def test_times_of_frames_without_a_time() -> None:
    """They are spaced by the rate, wherever the first one's index begins."""
    clock = StreamClock(30)
    assert [clock.time_of(picture(i)) for i in (7, 8, 10)] == [0, 3000, 9000]


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from tests.device.stream.test_video_out import Mp4Files, NOTHING, picture, sink
with sink(Mp4Files(Path(sys.argv[1]), at_once=True), live=True) as video:
    for i in range(100):
        video.write(picture(i, 40 * i), NOTHING)
        time.sleep(0.005)
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_recording_lacks_its_last_fragment_only(tmp_path: Path) -> None:
    """100 frames of 40 ms, a fragment per second: after kill -9 the first 75 are there, under the video's name."""
    target = tmp_path / "v.mp4"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        deadline = time.monotonic() + WAIT_S
        while boxes(target).count("moof") < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert read(target)[0] == [i % 40 for i in range(75)]
    assert boxes(target) == ["ftyp", "moov", *["moof", "mdat"] * 3]


@contextmanager
def file_limit(most_bytes: int) -> Iterator[None]:
    """No file grows beyond so many bytes: a write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def noise(index: int) -> Frame:
    random = np.random.default_rng(index)
    return Frame(random.integers(0, 256, (120, 160, 3), np.uint8), "v.avi", index)


@pytest.mark.parametrize("most_bytes", [0, 40_000, 60_000])
def test_a_full_disk_ends_the_run(tmp_path: Path, most_bytes: int) -> None:
    """Of a file nothing new is left and the old video stays; of a live source what was written can be played."""
    for name, live in (("old.mp4", False), ("new.mp4", True)):
        target = tmp_path / name
        if not live:
            target.write_bytes(b"old")
        with pytest.raises(RkdeployError, match="was not written: File too large") as caught, file_limit(most_bytes):
            _write_noise(target, live=live)
        assert "Is the disk full?" in caught.value.hint
    assert (tmp_path / "old.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.mp4", "old.mp4"]
    if most_bytes == 60_000:
        assert read(tmp_path / "new.mp4")[1] == pytest.approx([i / 25 for i in range(25)])


def _write_noise(target: Path, *, live: bool) -> None:
    with sink(Mp4Files(target, at_once=live), live=live) as video:
        for i in range(80):
            while len(video._waiting) > 2 and video._error is None:
                time.sleep(0.001)
            video.write(noise(i), NOTHING)


def test_another_size_is_refused_in_a_file_and_begins_a_new_video_of_a_camera(tmp_path: Path) -> None:
    """A camera that is connected again may have another mode."""
    sizes = [64] * 3 + [32] * 3
    refusing = sink(Mp4Files(tmp_path / "v.mp4", at_once=False))
    with pytest.raises(RkdeployError, match="is 32x48, expected 64x48"), refusing:
        list(starmap(refusing.write, [(picture(i, width=width), NOTHING) for i, width in enumerate(sizes)]))
    assert list(tmp_path.iterdir()) == []
    with sink(Mp4Files(tmp_path / "v.mp4", at_once=True), live=True) as video:
        for i, width in enumerate(sizes):
            time.sleep(0.02)
            video.write(picture(i, 40 * i, width=width), NOTHING)
    assert read(tmp_path / "v.mp4")[0] == [0, 1, 2]
    numbers, times = read(tmp_path / "v_2.mp4")
    assert numbers == [3, 4, 5]
    assert times == pytest.approx([0, 0.04, 0.08])


class FailingContext:
    """A hardware encoder that gives some packets of a software one, then fails as a lost device does."""

    def __init__(self, inner: Any, pictures: int) -> None:
        self._inner, self._left = inner, pictures

    @property
    def extradata(self) -> Any:
        return self._inner.extradata

    def encode(self, frame: Any) -> Sequence[Any]:
        self._left -= 1
        if self._left < 0:
            raise av.error.ExternalError(542398533, "Generic error in an external library")
        packets: Sequence[Any] = self._inner.encode(frame)
        return packets


@pytest.mark.parametrize("pictures", [0, 1, 7])
def test_hardware_that_fails_is_followed_by_software(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: int
) -> None:
    """No frame is lost: the rest is in a second file, since its parameters are others; one note says why."""
    opened = h264_encoder._opened

    def stand_in(name: str, *size_and_rate: Any) -> Any:
        context = opened("libx264", *size_and_rate)
        return FailingContext(context, pictures) if name == "h264_rkmpp" else context

    monkeypatch.setattr(h264_encoder, "_opened", stand_in)
    told: list[str] = []
    encoder = EncoderChoice("PyAV", ("h264_rkmpp", "libx264"))
    with sink(Mp4Files(tmp_path / "v.mp4", at_once=False), encoder=encoder, notify=told.append) as video:
        for i in range(12):
            video.write(picture(i), NOTHING)
    files = sorted(tmp_path.iterdir())
    assert [number for path in files for number in read(path)[0]] == list(range(12))
    assert len(files) == (2 if pictures else 1)
    assert len(told) == 1
    assert "h264_rkmpp failed" in told[0]
    assert "libx264 resumes in software" in told[0]


class Stuck:
    """A receiver that takes its first packet when it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.taken = 0

    def open(self) -> None:
        """Nothing to check."""

    def begin(self, video: Any) -> None:
        """Nothing to prepare."""

    def take(self, packet: Any) -> None:
        assert self.allowed.wait(WAIT_S)
        self.taken += 1

    def end(self, *, whole: bool) -> None:
        """Nothing to close."""


def test_a_slow_disk_holds_no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that find no room are left out and counted; a disk that never answers ends the run with an error."""
    monkeypatch.setattr(encoded_video, "_JOIN_S", 0.05)
    stuck = Stuck()
    began = time.monotonic()
    with pytest.raises(RkdeployError, match="was not finished within"), sink(stuck, live=True) as video:
        list(starmap(video.write, [(picture(i, 40 * i), NOTHING) for i in range(50)]))
    assert time.monotonic() - began < WAIT_S / 2
    assert 50 - 6 <= video.dropped <= 50 - 4
    stuck.allowed.set()
    video._thread.join(WAIT_S)
    assert stuck.taken == 50 - video.dropped


def test_what_writes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV's encoder; hardware that refuses, with the reason; OpenCV where there is no PyAV, no encoder, or by wish."""
    writer = chosen_writer()
    assert (writer.text, writer.notes) == (f"PyAV {av.__version__}, libx264 in software", ())
    tried: list[str] = []

    def refusing(name: str, *_rest: Any) -> None:
        tried.append(name)
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr(h264_encoder, "_opened", refusing)
    monkeypatch.setattr(av, "codecs_available", {"h264_rkmpp", "libopenh264"})
    assert chosen_writer().text.endswith(f"PyAV {av.__version__} has no encoder of H.264)")
    assert tried == ["h264_rkmpp", "libopenh264"]
    monkeypatch.setattr(h264_encoder, "_opened", lambda name, *_rest: refusing(name) if "rkmpp" in name else None)
    writer = chosen_writer()
    assert writer.text.endswith("libopenh264 in software")
    assert len(writer.notes) == 1
    assert "h264_rkmpp cannot be opened here" in writer.notes[0]
    assert "Permission denied" in writer.notes[0]
    monkeypatch.setenv(VIDEO_VARIABLE, "software")
    assert chosen_writer().notes == ()
    monkeypatch.setenv(VIDEO_VARIABLE, "opencv")
    assert "MPEG-4 part 2, which browsers do not play; PyAV writes H.264" in chosen_writer().text


def test_the_save_folder_has_the_encoder(tmp_path: Path) -> None:
    """A video is written by PyAV where there is an encoder, else by OpenCV, and never over its source."""
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftyp")
    source = open_source(str(tmp_path / "clip.mp4"))
    assert isinstance(open_save_folder(tmp_path / "out", source, ()), VideoSink)
    assert isinstance(open_save_folder(tmp_path / "out", source, (), ENCODER), EncodedVideoSink)
    with pytest.raises(RkdeployError, match="is the source itself"):
        open_save_folder(tmp_path, source, (), ENCODER)
