"""Video files that are none: playlists and descriptions of streams, which FFmpeg would follow under any name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.device.stream.sources import open_source
from rkdeploy.errors import SourceError


def write_video(path: Path, grey: int, codec: str = "mp4v") -> Path:
    """Five frames of one gray level."""
    writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter.fourcc(*codec), 20, (64, 48))
    assert writer.isOpened()
    for _ in range(5):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    return path


def greys_of(source: str) -> list[int]:
    with open_source(source) as frames:
        return [round(float(frame.image.mean())) for frame in frames]


HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011"'
    "><Period><BaseURL>{}</BaseURL></Period></MPD>"
)
PLAYLISTS = {
    "hls": HLS,
    "hls after a byte order mark": "\ufeff" + HLS,
    "ffconcat": "ffconcat version 1.0\nfile {}\n",
    "dash": DASH,
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n# {}\n",
    "sdp behind other lines": "x=1\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n# {}\n",
    "xspf": '<?xml version="1.0"?><playlist version="1"><trackList><track><location>{}</location></track></trackList>',
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "pls": "[playlist]\nFile1={}\n",
    "dash within a box that begins with letters": "AAAAmdat" + DASH,
    "hls where a transport stream's packets begin": "".join("G" + line.ljust(187) for line in HLS.split("\n")),
}


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".avi"])
@pytest.mark.parametrize("text", PLAYLISTS.values(), ids=PLAYLISTS.keys())
def test_playlists_are_refused(text: str, suffix: str, tmp_path: Path) -> None:
    """A text that leads to another file is refused by what it is, whatever its name; no frame comes out."""
    other = write_video(tmp_path / "other.mp4", 90)
    playlist = tmp_path / f"p{suffix}"
    playlist.write_text(text.format(other.as_uri()), "utf-8")
    with pytest.raises(SourceError, match="is a playlist or a description of a stream"):
        greys_of(str(playlist))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.ts", "MPG2"), ("a.webm", "VP80"),
                        ("a.flv", "FLV1"), ("a.mpg", "MPG1")],
)  # fmt: skip
def test_containers_are_read(name: str, codec: str, tmp_path: Path) -> None:
    """Videos of the kinds that are documented give their frames, all of them."""
    greys = greys_of(str(write_video(tmp_path / name, 90, codec)))
    assert len(greys) >= 4
    assert all(abs(grey - 90) <= 3 for grey in greys)


@pytest.mark.parametrize("name", ["concat:other.mp4", "file:other.mp4", "subfile,,start,0,end,0,,:other.mp4"])
def test_a_name_is_no_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name FFmpeg would take for a protocol is that file, not the one that it names."""
    monkeypatch.chdir(tmp_path)
    write_video(Path("other.mp4"), 200)
    write_video(Path(name), 40)
    assert all(abs(grey - 40) <= 3 for grey in greys_of(name))


def test_a_pattern_in_a_name_is_that_file(tmp_path: Path) -> None:
    """`%d` in a name does not make a numbered sequence of it."""
    write_video(tmp_path / "a1.mp4", 200)
    write_video(tmp_path / "a%d.mp4", 40)
    assert all(abs(grey - 40) <= 3 for grey in greys_of(str(tmp_path / "a%d.mp4")))
