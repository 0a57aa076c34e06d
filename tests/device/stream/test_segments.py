"""Recordings in numbered segments: their order and times, limits, a kill, a full disk."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.stream.sinks import open_save_folder
from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.video_out import fragmented_mp4, segments
from rkdeploy.device.stream.video_out.fragmented_mp4 import cut_to_whole_fragments
from rkdeploy.device.stream.video_out.h264_encoder import H264Encoder
from rkdeploy.device.stream.video_out.keep_limits import KEEP, KeepLimits
from rkdeploy.device.stream.video_out.recording_options import RecordingOptions
from rkdeploy.device.stream.video_out.recording_shelf import RECORDING_NAME, RecordingShelf
from rkdeploy.device.stream.video_out.segments import SegmentFiles
from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S
from rkdeploy.errors import RkdeployError
from tests.cli.test_run import run, write_video
from tests.command_line import rkdeploy
from tests.device.stream.stand_ins import WAIT_S
from tests.device.stream.test_video_out import boxes, read

RATE = 10
NO_LIMITS = KeepLimits()


def recorder(folder: Path, seconds: float = 2, *, limits: KeepLimits | None = None, live: bool = True) -> SegmentFiles:
    told: Callable[[str], None] = lambda _text: None  # noqa: E731
    return SegmentFiles(folder, seconds, RecordingShelf(folder, limits), live=live, name="cam", notify=told)


def record(files: SegmentFiles, times_s: Iterator[float] | list[float]) -> None:
    """Encode a picture for each time, 160x120, of noise so that a second has a known size, and end."""
    encoder = H264Encoder(["libx264"], (160, 120), RATE, lambda _text: None)
    random = np.random.default_rng(0)
    files.open()
    began = False
    for at in times_s:
        image = random.integers(0, 256, (120, 160, 3), np.uint8)
        packets = encoder.encode(image, round(at * TICKS_PER_S))
        if not began and encoder.format is not None:
            files.begin(encoder.format)
            began = True
        for packet in packets:
            files.take(packet)
    files.end(whole=True)


def seconds(count: float) -> list[float]:
    return [i / RATE for i in range(round(count * RATE))]


def recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if RECORDING_NAME.fullmatch(path.name))


def test_segments_are_numbered_and_play_by_themselves(tmp_path: Path) -> None:
    """Each begins at time 0 with a key frame and has its time; numbers go on in the next run; a gap ends a segment."""
    record(recorder(tmp_path), [*seconds(5), 20.0, 20.1])
    found = recordings(tmp_path)
    assert [path.name[:7] for path in found] == ["000001_", "000002_", "000003_", "000004_"]
    times = [read(path)[1] for path in found]
    assert [len(one) for one in times] == [20, 20, 10, 2]
    assert times[1] == pytest.approx(seconds(2))
    assert times[3] == pytest.approx([0, 0.1])
    record(recorder(tmp_path), seconds(1))
    assert recordings(tmp_path)[-1].name.startswith("000005_")


def test_the_oldest_are_removed(tmp_path: Path) -> None:
    """By size, those of earlier runs and of other streams first; by age; no file of another name ever."""
    others = [tmp_path / "other" / name for name in ("000001_20200101-000000.mp4", "holiday.mp4", "000001_x.mp4")]
    others[0].parent.mkdir()
    for path in others:
        path.write_bytes(bytes(100_000))
        os.utime(path, (1, 1))
    folder = tmp_path / "cam"
    folder.mkdir()
    shelf = RecordingShelf(tmp_path, KeepLimits(size_bytes=120_000))
    record(SegmentFiles(folder, 1, shelf, live=True, name="cam", notify=lambda _text: None), seconds(12))
    assert [path.exists() for path in others] == [False, True, True]
    left = recordings(folder)
    total = sum(path.stat().st_size for path in left)
    assert 60_000 < total <= 120_000 + 40_000  # a fragment more than at the last look
    assert left[-1].name.startswith("000012_")
    numbers = [int(path.name[:6]) for path in left]
    assert numbers == list(range(numbers[0], 13))
    for path in left[:-1]:
        os.utime(path, (1, 1))
    RecordingShelf(tmp_path, KeepLimits(age_s=3600)).trim()
    assert recordings(folder) == left[-1:]
    assert others[1].exists()


@pytest.mark.parametrize(
    ("text", "limits", "written"),
    [
        ("20GB", KeepLimits(20 * 10**9), "20000MB"),
        ("48h", KeepLimits(None, 172_800), "2880min"),
        ("1.5tb, 7d", KeepLimits(1_500_000_000_000, 604_800), "1500000MB,10080min"),
    ],
)
def test_limits_as_they_are_written(text: str, limits: KeepLimits, written: str) -> None:
    """A size, an age, or both; what a command prints gives the same limits."""
    assert KEEP.read(text) == limits
    assert KEEP.write(limits) == written
    assert KEEP.read(written) == limits


@pytest.mark.parametrize("text", ["20", "GB", "1GB,2GB", "0h", "-1h", "5weeks", "", "20GB;7d"])
def test_limits_that_are_refused(text: str) -> None:
    """With examples of what is expected."""
    with pytest.raises(ValueError, match=r"keeps nothing|expected such as 20GB, 48h"):
        KEEP.read(text)


WRITER = """
import sys, time
from pathlib import Path
from tests.device.stream.test_segments import record, recorder
def times():
    for i in range(35):
        yield i / 10
    print("written", flush=True)
    time.sleep(60)
record(recorder(Path(sys.argv[1])), times())
"""


def test_a_killed_recording_lacks_its_last_fragment_only(tmp_path: Path) -> None:
    """35 frames in fragments of a second: 30 can be read; the next run cuts what power failures leave behind them."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    first, last = recordings(tmp_path)
    assert [len(read(path)[0]) for path in (first, last)] == [20, 10]
    whole = last.read_bytes()
    last.write_bytes(whole + whole[-500:-100] + b"\0\0\1\0mdat1234")
    before = first.read_bytes()
    recorder(tmp_path).open()
    assert last.read_bytes() == whole
    assert first.read_bytes() == before
    assert boxes(last) == ["ftyp", "moov", "moof", "mdat"]


def test_files_are_cut_only_where_nothing_writes_them(tmp_path: Path) -> None:
    """A file that another run writes stays; one without a fragment, as of a kill in the first second, is removed."""
    record(recorder(tmp_path), seconds(1))
    (whole,) = recordings(tmp_path)
    data = whole.read_bytes()
    cut = tmp_path / "000002_20260101-000000.mp4"
    cut.write_bytes(data[: data.index(b"moof") + 100])
    with cut.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        cut_to_whole_fragments(cut)
        assert cut.exists()
    cut_to_whole_fragments(cut)
    assert not cut.exists()
    cut_to_whole_fragments(tmp_path / "nothing.mp4")
    assert whole.read_bytes() == data


class SmallDisk:
    """A file system with so much room: a write that finds none fails as on a full disk.

    Args:
        folder: of its files.
        most_bytes: of all files together.
    """

    def __init__(self, folder: Path, most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = most_bytes
        plain = fragmented_mp4._WholeWrites.write

        def write(file: fragmented_mp4._WholeWrites, data: bytes) -> int:
            if sum(path.stat().st_size for path in folder.iterdir()) + len(data) > self.most_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return plain(file, data)

        monkeypatch.setattr(fragmented_mp4._WholeWrites, "write", write)


def test_a_full_disk_loses_frames_of_a_camera_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; when there is room again, so does the recording, and each loss is said with its number."""
    disk = SmallDisk(tmp_path, 60_000, monkeypatch)
    monkeypatch.setattr(segments, "_RETRY_S", 0.0)
    told: list[str] = []
    files = SegmentFiles(tmp_path, 2, RecordingShelf(tmp_path, None), live=True, name="cam", notify=told.append)

    def times() -> Iterator[float]:
        for at in seconds(12):
            if at == 9.0:
                disk.most_bytes = 1_000_000
            yield at

    record(files, times())
    kept = sum(len(read(path)[0]) for path in recordings(tmp_path))
    assert files.lost > 20
    assert kept + files.lost == 120
    assert "No space left on device" in told[0]
    assert f"written again; {files.lost} frames are missing" in told[1]
    assert len(told) == 2


def test_a_full_disk_makes_room_where_the_oldest_may_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --keep above the disk's size, it is the disk that limits: the newest segments are there at the end."""
    SmallDisk(tmp_path, 150_000, monkeypatch)
    files = recorder(tmp_path, limits=KeepLimits(size_bytes=10**9))
    record(files, seconds(20))
    found = recordings(tmp_path)
    times = [len(read(path)[1]) for path in found]
    assert times[-1] >= 10
    assert int(found[0].name[:6]) > 1
    assert files.lost <= 60  # the fragment that finds no room, each time


def test_a_full_disk_ends_the_run_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a run can be repeated, and its results are expected to be whole."""
    SmallDisk(tmp_path, 60_000, monkeypatch)
    with pytest.raises(RkdeployError, match=r'00000\d_.*" was not written: No space left') as caught:
        record(recorder(tmp_path, 1, live=False), seconds(5))
    assert "Is the disk full?" in caught.value.hint


def test_what_segments_need(tmp_path: Path) -> None:
    """An encoder of H.264, a folder, and a reason to remove files."""
    (tmp_path / "clip.avi").write_bytes(b"x")
    source = open_source(str(tmp_path / "clip.avi"))
    with pytest.raises(RkdeployError, match="need an encoder"):
        open_save_folder(tmp_path, source, (), recording=RecordingOptions(segment_s=60))
    for words, says in (
        (["--segment", "60"], "--save FOLDER only"),
        (["--save", "o", "--keep", "1GB"], "files of --segment"),
        (["--save", "o", "--segment", "60", "--keep", "much"], "not a size or age"),
    ):
        result = rkdeploy("run", "x.rknn", tmp_path / "clip.avi", *words)
        assert result.returncode == 2
        assert says in " ".join(result.stderr.replace("│", " ").split())


def test_a_run_writes_segments_in_the_folder_of_its_source(tmp_path: Path) -> None:
    """`--save DIR --segment 1` of a video: DIR/clip/000001_*.mp4 and so on, all frames in them."""
    video = write_video(tmp_path / "clip.avi", 60)
    result = run(video, "--save", tmp_path / "o", "--segment", "1")
    assert result.returncode == 0, result.stderr
    assert "libx264 in software" in result.stderr.replace("\n", " ")
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["clip"]
    assert [len(read(path)[0]) for path in recordings(tmp_path / "o" / "clip")] == [25, 25, 10]
