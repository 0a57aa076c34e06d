"""Opening sources of frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from rkdeploy.device.stream.sources import open_source
from rkdeploy.device.stream.sources.video_file import VideoFile
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from rkdeploy.device.stream.frames import Frame

VAL = Path(__file__).parents[3] / "calib_data" / "images" / "val"


def frames_of(text: str) -> list[Frame]:
    with open_source(text) as frames:
        return list(frames)


def write_video(path: Path, count: int, codec: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 20, (64, 48))
    rng = np.random.default_rng(0)
    for i in range(count):
        noise = rng.integers(0, 30, (48, 64, 3), dtype=np.uint8)
        writer.write(cv2.add(np.full((48, 64, 3), 3 * i, np.uint8), noise))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for source, name in (("val_0002", "b.jpg"), ("val_0001", "a.JPG"), ("val_0003", "c.jpg")):
        shutil.copy(VAL / f"{source}.jpg", tmp_path / name)
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "._a.jpg").write_bytes(b"x")
    return tmp_path


def test_an_image_file_is_one_frame() -> None:
    """One image gives one frame with its path and the index 0."""
    path = str(VAL / "val_0000.jpg")
    (frame,) = frames_of(path)
    assert (frame.source, frame.index, frame.timestamp_ms) == (path, 0, None)
    assert frame.image.shape == (480, 640, 3)
    assert frame.image.dtype == np.uint8


def test_a_folder_gives_its_images_sorted(folder: Path) -> None:
    """A folder gives its images by name, nothing else, and knows how many."""
    source = open_source(str(folder))
    assert source.frame_count == 3
    assert source.frames_per_second is None
    with source as frames:
        assert [(Path(f.source).name, f.index) for f in frames] == [("a.JPG", 0), ("b.jpg", 1), ("c.jpg", 2)]


def test_a_glob_gives_its_images_sorted(folder: Path) -> None:
    """A pattern gives the images that match it, from folders below with `**`."""
    assert [Path(frame.source).name for frame in frames_of(f"{folder}/*.jpg")] == ["b.jpg", "c.jpg"]
    assert len(frames_of(f"{folder}/**/[ab].*")) == 2


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder: Path) -> None:
    """An existing file named with brackets is read as itself."""
    shutil.copy(VAL / "val_0000.jpg", folder / "x[1].jpg")
    assert len(frames_of(str(folder / "x[1].jpg"))) == 1


def test_a_list_file_keeps_its_order(folder: Path) -> None:
    """A list gives its images in its own order, relative to itself."""
    (folder / "list.txt").write_text("# two\nc.jpg\n./b.jpg\n")
    assert [Path(frame.source).name for frame in frames_of(str(folder / "list.txt"))] == ["c.jpg", "b.jpg"]


@pytest.mark.usefixtures("video_package")
def test_a_video_gives_every_frame_in_order(tmp_path: Path) -> None:
    """A video gives its frames with running index and time, each in memory of its own."""
    source = open_source(str(write_video(tmp_path / "Ä video.mp4", 30)))
    with source as frames:
        assert source.frame_count == 30
        assert source.frames_per_second == pytest.approx(20)
        got = list(frames)
    assert [frame.index for frame in got] == list(range(30))
    assert [frame.timestamp_ms for frame in got[:3]] == pytest.approx([0, 50, 100])
    assert got[0].image.mean() < got[10].image.mean() < got[29].image.mean()


@pytest.mark.usefixtures("video_package")
def test_a_cut_off_video_says_at_which_frame(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A video that ends before its header says gives its frames, then an error with the frame's number."""
    data = write_video(tmp_path / "whole.avi", 40, "MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    seen: list[int] = []
    with (
        pytest.raises(SourceError, match=r"cannot be decoded from frame \d+ on; its header says 40") as caught,
        open_source(str(tmp_path / "cut.avi")) as frames,
    ):
        seen.extend(frame.index for frame in frames)
    assert 10 < len(seen) < 30
    assert f"frame {len(seen)} on" in caught.value.message
    assert "OpenCV" not in capfd.readouterr().err


@pytest.mark.usefixtures("video_package")
def test_leaving_a_video_early_closes_it(tmp_path: Path) -> None:
    """A pipeline that stops after one frame leaves nothing open."""
    source = VideoFile("v", write_video(tmp_path / "v.mp4", 5))
    with source as frames:
        next(frames)
    assert source._capture is None


@pytest.mark.usefixtures("video_package")
@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.mp4", b"junk" * 500, "format that is not known here"),
        ("a.mkv", b"", "is empty"),
        ("a.mp4", b"\0" * 64, "format that is not known here"),
        ("a.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 64, "cannot be opened"),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    """Junk with a video's name is refused on opening."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=says):
        frames_of(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("no/such.jpg", "does not exist"),
        ("no/such/*.jpg", "matches nothing"),
        ("0", "camera number"),
        ("ftp://host/stream", 'unknown scheme "ftp"'),
        ("/dev/null", "device or pipe"),
        ("a\0b", "not a valid path|does not exist"),
        ("x" * 5000, "not a valid path|does not exist"),  # since Python 3.14 such a path is one that is not there
    ],
)
def test_texts_that_name_no_source(text: str, says: str) -> None:
    """Whatever names nothing readable is refused with the forms that are."""
    with pytest.raises(SourceError, match=says):
        open_source(text)


def test_wrong_files_and_folders(folder: Path) -> None:
    """A file of another kind, a folder and a pattern without images are refused with what was expected."""
    (folder / "up" / "deep").mkdir(parents=True)
    for text, says in (("notes.md", 'ending ".md"'), ("up", "holds no images"), ("*.md", "none of them an image")):
        with pytest.raises(SourceError, match=says) as caught:
            open_source(str(folder / text))
        assert "jpg" in str(caught.value)


def test_an_unreadable_image_ends_the_run_or_is_passed_over(folder: Path) -> None:
    """A broken image raises by name; with `on_unreadable` it is reported, left out, and its index too."""
    (folder / "b.jpg").write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"b\.jpg"):
        frames_of(str(folder))
    errors: list[SourceError] = []
    with open_source(str(folder), errors.append) as frames:
        assert [frame.index for frame in frames] == [0, 2]
    assert len(errors) == 1
