"""Writing what was found."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
from itertools import starmap
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import CaptureTime, Frame
from rkdeploy.device.stream.sinks import open_save_folder
from rkdeploy.device.stream.sinks.images import ImagesSink
from rkdeploy.device.stream.sinks.jsonl import JsonlSink
from rkdeploy.device.stream.sinks.video_writer import VideoSink
from rkdeploy.device.stream.sources import open_source
from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import write_atomically

VAL = Path(__file__).parents[3] / "calib_data" / "images" / "val"
NAMES = ("bolt", "螺母")
FOUND = Detections(
    np.array([[1.23456, 2, 30.5, 40], [5, 6, 7, 8]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.array([0, 1], np.int32),
)


def frame(source: str = "in/a.jpg", index: int = 0, width: int = 64, height: int = 48) -> Frame:
    return Frame(np.full((height, width, 3), 90, np.uint8), source, index, captured=CaptureTime(0.5, 7.25))


def test_jsonl_lines_are_exactly_the_documented_objects(tmp_path: Path) -> None:
    """One object per frame, in order, with source pixels, score, id and original name; an empty frame has an empty
    list.
    """
    target = tmp_path / "new" / "out.jsonl"
    with JsonlSink(target, NAMES) as sink:
        sink.write(frame(), FOUND)
        sink.write(frame("in/b.jpg", 1), Detections.empty())
    lines = target.read_text("ascii").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "source": "in/a.jpg",
            "frame": 0,
            "time": "1970-01-01T00:00:00.500000Z",
            "monotonic_s": 7.25,
            "detections": [
                {"xyxy": [1.23, 2.0, 30.5, 40.0], "confidence": 0.9, "class_id": 0, "class_name": "bolt"},
                {"xyxy": [5.0, 6.0, 7.0, 8.0], "confidence": 0.25, "class_id": 1, "class_name": "螺母"},
            ],
        },
        {
            "source": "in/b.jpg",
            "frame": 1,
            "time": "1970-01-01T00:00:00.500000Z",
            "monotonic_s": 7.25,
            "detections": [],
        },
    ]


def test_json_lines_can_be_followed_and_a_failure_brings_the_earlier_file_back(tmp_path: Path) -> None:
    """Each line is in the file when its frame is finished; what is left after an error is the old file alone."""
    target = tmp_path / "out.jsonl"
    target.write_text("old\n")

    def interrupted() -> None:
        with JsonlSink(target, NAMES) as sink:
            sink.write(frame(), FOUND)
            assert target.read_text().endswith("}\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert target.read_text() == "old\n"


def test_lines_of_a_live_source_are_appended_and_stay_after_an_error(tmp_path: Path) -> None:
    """A camera's frames cannot be recorded again."""
    target = tmp_path / "out.jsonl"

    def interrupted() -> None:
        with JsonlSink(target, NAMES, live=True) as sink:
            sink.write(frame(), FOUND)
            raise KeyboardInterrupt

    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert [json.loads(line)["frame"] for line in target.read_text().splitlines()] == [0] * number


def test_a_full_disk_loses_lines_of_a_live_source_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on; half a line is taken back, and the file goes on when there is space."""
    target, told, written = tmp_path / "out.jsonl", list[str](), os.write
    full = False

    def write(descriptor: int, data: bytes) -> int:
        if not full:
            return written(descriptor, data)
        if len(data) < 50:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, data[: len(data) - 20])

    monkeypatch.setattr(os, "write", write)
    with JsonlSink(target, NAMES, live=True, notify=told.append) as sink:
        sink.write(frame(index=1), FOUND)
        full = True
        sink.write(frame(index=2), FOUND)
        sink.write(frame(index=3), FOUND)
        full = False
        sink.write(frame(index=4), FOUND)
    assert [json.loads(line)["frame"] for line in target.read_text().splitlines()] == [1, 4]
    assert [text.split(":")[-1].strip() for text in told] == [
        "No space left on device. Its lines are lost until it can.",
        "JSON lines are written again; 2 were lost.",
    ]
    assert sink.lost == 2
    full = True
    with pytest.raises(RkdeployError, match="cannot be written: No space left"), JsonlSink(target, NAMES) as sink:
        sink.write(frame(), FOUND)
    assert len(target.read_text().splitlines()) == 2, "a recorded source's file is whole: the earlier one is back"


def test_jsonl_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """`-` writes lines to stdout and leaves it open, even for file names that are not valid Unicode."""
    with JsonlSink("-", NAMES) as sink:
        sink.write(frame("in/\udcff.jpg"), FOUND)
    assert json.loads(capsys.readouterr().out)["source"] == "in/\udcff.jpg"


def test_jsonl_refuses_a_folder_and_a_place_it_cannot_write(tmp_path: Path) -> None:
    """A target that cannot be a file is refused on entering."""
    (tmp_path / "file").touch()
    for target, says in ((tmp_path, "is a folder"), (tmp_path / "file" / "out.jsonl", "cannot be created")):
        with pytest.raises(RkdeployError, match=says), JsonlSink(target, NAMES):
            pass


def test_a_link_is_followed_and_a_pipe_is_written_into(tmp_path: Path) -> None:
    """Neither is replaced by a file: the link's file gets the lines, and who reads the pipe gets them too."""
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    with JsonlSink(tmp_path / "link.json", NAMES) as sink:
        sink.write(frame("a.jpg"), Detections.empty())
    write_atomically(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, b"one ")
        with JsonlSink(pipe, NAMES) as sink:
            sink.write(frame("b.jpg"), Detections.empty())
        got = os.read(reader, 10_000)
    finally:
        os.close(reader)
    assert got.startswith(b"one {")
    assert json.loads(got[4:])["source"] == "b.jpg"
    assert pipe.is_fifo()
    os.mkfifo(tmp_path / "v.mp4")
    with pytest.raises(RkdeployError, match="it is not a file"), VideoSink(tmp_path / "v.mp4", NAMES):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "real.json", "v.mp4"]


def test_images_are_named_like_their_sources(tmp_path: Path) -> None:
    """Collisions, also by case, get a number; formats that few programs show become PNG; the size stays."""
    with ImagesSink(tmp_path / "out", NAMES) as sink:
        for source in ("x/a.jpg", "y/a.jpg", "z/A.JPG", "x/螺.tif", "x/b.webp"):
            sink.write(frame(source), FOUND)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(["a.jpg", "a_2.jpg", "A_3.JPG", "螺.png", "b.webp"])
    image = cv2.imdecode(np.fromfile(tmp_path / "out" / "螺.png", np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (48, 64, 3)
    assert (image != 90).any()


def test_originals_are_never_overwritten(tmp_path: Path) -> None:
    """Saving into the source's own folder is refused, whichever way it is written."""
    (tmp_path / "in").mkdir()
    sink = ImagesSink(tmp_path / "in" / ".." / "in", NAMES)
    with pytest.raises(RkdeployError, match="would be overwritten"), sink:
        sink.write(frame(str(tmp_path / "in" / "a.jpg")), FOUND)
    video = VideoSink(tmp_path / "v.mp4", NAMES)
    with pytest.raises(RkdeployError, match="would be overwritten"), video:
        video.write(frame(str(tmp_path / "v.mp4")), FOUND)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_a_video_holds_every_frame(tmp_path: Path, width: int, height: int) -> None:
    """The mp4 has all frames, the rate of the source, and the size (less an odd last row or column)."""
    target = tmp_path / "out" / "v.mp4"
    with VideoSink(target, NAMES, 12.5) as sink:
        for i in range(10):
            sink.write(frame("v.avi", i, width, height), FOUND)
        assert not target.exists()
    source = open_source(str(target))
    with source as frames:
        assert source.frames_per_second == pytest.approx(12.5)
        assert [got.image.shape for got in frames] == [(48, 64, 3)] * 10
    assert [path.name for path in target.parent.iterdir()] == ["v.mp4"]


def test_a_video_refuses_frames_of_another_size(tmp_path: Path) -> None:
    """A frame that the encoder would silently leave out is an error, and no half video stays."""
    sink = VideoSink(tmp_path / "v.mp4", NAMES)
    found = [(frame("v.avi", 0), FOUND), (frame("v.avi", 1, width=32), FOUND)]
    with pytest.raises(RkdeployError, match="is 32x48, expected 64x48"), sink:
        list(starmap(sink.write, found))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most_bytes", [1, 20_000, 100_000])
def test_a_full_disk_publishes_no_video(tmp_path: Path, most_bytes: int) -> None:
    """When the file cannot grow, the encoder reports nothing, but the sink does; the old video stays, without
    leftovers.
    """
    target = tmp_path / "v.mp4"
    target.write_bytes(b"old")
    random = np.random.default_rng(0)
    sink = VideoSink(target, NAMES)

    def write_until_full() -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            for i in range(40):
                image = random.integers(0, 256, (240, 320, 3), np.uint8)
                sink.write(Frame(image, "v.avi", i), FOUND)
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))  # as a full disk: a write fails
            assert sink._writer is not None
            sink._writer.release()  # writes what it still holds, while the limit lasts
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.raises(RkdeployError, match="was not written") as caught, sink:
        write_until_full()
    assert "Is the disk full?" in caught.value.hint
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_video_without_its_end_is_refused(tmp_path: Path) -> None:
    """A file that lacks frames, though it opens, is an error that gives both numbers."""
    sink = VideoSink(tmp_path / "v.mp4", NAMES)
    sink._encoded = 27
    with pytest.raises(RkdeployError, match="has 3 of 30 frames"), sink:
        list(starmap(sink.write, [(frame("v.avi", i), FOUND) for i in range(3)]))
    assert list(tmp_path.iterdir()) == []


def test_a_video_of_no_frames_is_no_file(tmp_path: Path) -> None:
    """Without a frame nothing is written; another ending than mp4 is refused."""
    with VideoSink(tmp_path / "v.mp4", NAMES):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RkdeployError, match=r'expected "\.mp4"'), VideoSink(tmp_path / "v.avi", NAMES):
        pass


def test_the_save_folder_suits_the_source(tmp_path: Path) -> None:
    """Image files are saved as images; whatever moves becomes one video."""
    (tmp_path / "clip.mov").write_bytes(b"x")
    assert isinstance(open_save_folder(tmp_path, open_source(str(VAL)), NAMES), ImagesSink)
    sink = open_save_folder(tmp_path, open_source(str(tmp_path / "clip.mov")), NAMES)
    assert isinstance(sink, VideoSink)
    assert sink._target == tmp_path / "clip.mp4"


def live_frame(index: int, timestamp_ms: float) -> Frame:
    return Frame(np.full((48, 64, 3), index, np.uint8), "cam", index, timestamp_ms)


def test_a_live_video_runs_as_fast_as_life(tmp_path: Path) -> None:
    """Dropped frames are made up for by the one before, frames that come too early are left out."""
    target = tmp_path / "v.mp4"
    with VideoSink(target, NAMES, 10, keep_time=True) as sink:
        for index, at_ms in enumerate((5000, 5100, 5110, 5120, 5500, 6000)):
            sink.write(live_frame(40 * index, at_ms), Detections.empty())
    with open_source(str(target)) as frames:
        values = [round(float(got.image.mean()) / 40) for got in frames]
    assert values == [0, 1, 1, 1, 1, 4, 4, 4, 4, 4, 5]


def test_a_long_gap_of_a_live_video_is_cut(tmp_path: Path) -> None:
    """While a camera is away for an hour, 10 s of its last picture are kept, and time goes on from there."""
    target = tmp_path / "v.mp4"
    with VideoSink(target, NAMES, 10, keep_time=True) as sink:
        for at_ms in (0, 3_600_000, 3_600_100, 3_600_300):
            sink.write(live_frame(0, at_ms), Detections.empty())
    with open_source(str(target)) as frames:
        assert len(list(frames)) == 1 + 100 + 1 + 1 + 2


def test_live_videos_are_named_by_address_and_time(tmp_path: Path) -> None:
    """No password, nothing that a file system dislikes, and a second run has another name."""
    source = open_source("rtsp://admin:secret@10.0.0.7:554/live/ch0?x=1")
    sink = open_save_folder(tmp_path, source, NAMES)
    assert isinstance(sink, VideoSink)
    assert re.fullmatch(r"10\.0\.0\.7_554_live_ch0_x_1_\d{8}-\d{6}\.mp4", sink._target.name)
