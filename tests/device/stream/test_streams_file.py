"""Files of streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkdeploy.device.stream.sources import open_source, open_sources
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.device.stream.sources.streams_file import MAX_STREAMS, ListedStream, streams_in
from rkdeploy.errors import SourceError


def written(folder: Path, text: str) -> Path:
    file = folder / "yard.streams"
    file.write_text(text)
    return file


def test_lines_names_and_comments(tmp_path: Path) -> None:
    """A name is before the first separator; an address that holds one has none."""
    file = written(
        tmp_path, "# yard\n\ngate = rtsp://a:b@10.0.0.7/cam?x=1\r\nrtsp://10.0.0.8/x = y\n  back door =  /dev/video3 \n"
    )
    assert streams_in(file) == (
        ListedStream("rtsp://a:b@10.0.0.7/cam?x=1", "gate"),
        ListedStream("rtsp://10.0.0.8/x = y"),
        ListedStream("/dev/video3", "back door"),
    )


def test_its_sources_are_one_live_source(tmp_path: Path) -> None:
    """Names replace addresses, passwords of the others stay hidden, and further sources can follow."""
    file = written(tmp_path, "gate = rtsp://a:b@10.0.0.7/cam\nrtsp://u:secret@10.0.0.8/cam\nback = /dev/video3\n")
    source = open_source(str(file))
    assert source.live
    assert [part.text for part in parts_of(source)] == ["gate", "rtsp://***@10.0.0.8/cam", "back"]
    more = open_sources([str(file), "rtsp://10.0.0.9/cam"])
    assert [part.text for part in parts_of(more)][2:] == ["back", "rtsp://10.0.0.9/cam"]


def test_paths_are_relative_to_it(tmp_path: Path) -> None:
    """A video in the folder of the file is found from anywhere; one line alone is that source itself."""
    (tmp_path / "clip.mp4").write_bytes(b"")
    source = open_source(str(written(tmp_path, "clip = clip.mp4\n")))
    assert (source.text, source.live, parts_of(source)) == ("clip", False, (source,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# nothing\n", "names no source"),
        ("a = rtsp://x/1\na = rtsp://x/2\n", 'has the name "a" twice'),
        ("yard.streams\n", "names another file of streams"),
        ("rtsp://x/1\n" * (MAX_STREAMS + 1), f"names {MAX_STREAMS + 1} sources"),
        ("a\0b", "yard.streams"),
        ("nowhere.mp4\n", "does not exist"),
        ("rtsp://x/1\nclip.mp4\n", "cannot take both"),
    ],
)
def test_what_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """Each with one message, before anything is opened."""
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=says):
        open_source(str(written(tmp_path, text)))
