"""Check of a video file's first bytes: a container of pictures, or a text that refers to other files.

FFmpeg opens playlists and session descriptions (HLS, ffconcat, DASH, SDP) under any name, follows the references in
them, and shows another file's or machine's pictures as this one's.  So a file must begin as one of the containers
below.
FFmpeg also searches for some of those texts further on, up to the first zero byte; so does this check.
"""

from __future__ import annotations

import re
from pathlib import Path

from rkdeploy.errors import SourceError, shown

_LOOKED_AT = 1 << 20  # most that FFmpeg's probes read
_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_MAGIC = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: .wmv
    b"OggS",
    b"\xff\xd8\xff",  # concatenated JPEGs
    b"\x00\x00\x01",  # start codes: MPEG-1 and -2, H.264, H.265, MPEG-4 part 2
    b"\x00\x00\x00\x01",
)
_PACKET_BYTES = (188, 192, 204)  # MPEG transport streams: plain, with time stamps (.mts), with error correction
_SYNC, _FIRST_SYNC_WITHIN = 0x47, 204
_LEADS_ELSEWHERE = re.compile(
    rb"#EXTM3U|#EXT-X-|ffconcat|<MPD\b|<SmoothStreamingMedia|<CompositionPlaylist|<playlist\b|<asx\b|<smil\b"
    rb"|\[playlist\]|\[Reference\]|(?:^|[\r\n])(?:v=0|c=IN IP)",
    re.IGNORECASE,
)


def require_container(path: Path) -> None:
    """Check that a file begins like a container of pictures.

    Raises:
        SourceError: when it cannot be read, is empty, refers to other files, or is not a known container.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(_LOOKED_AT)
    except OSError as error:
        raise SourceError(f'Video "{path}" cannot be read: {error.strerror}.') from error
    if not begin:
        raise SourceError(f'Video "{path}" is empty (0 bytes).')
    if _LEADS_ELSEWHERE.search(begin.partition(b"\0")[0]):
        raise SourceError(
            f'Video "{path}" is a playlist or a description of a stream, expected a video.',
            "Give the video file that it names, or the stream's own address (rtsp://..., http://...).",
        )
    if not _is_container(begin):
        raise SourceError(
            f'Video "{path}" is damaged, or in a format that is not known here: it begins with {shown(begin[:16])}.',
            "Check it with `ffprobe`, or re-encode it to H.264 in an mp4 file.",
        )


def _is_container(begin: bytes) -> bool:
    if begin[4:8] in _BOXES or begin.startswith(_MAGIC):
        return True
    if begin[:4] == b"RIFF" and begin[8:11] == b"AVI":
        return True
    return any(_has_packets(begin, size) for size in _PACKET_BYTES)


def _has_packets(begin: bytes, size: int) -> bool:
    """True if sync bytes stand `size` bytes apart, four in a row or as many as there are."""
    for first in range(min(_FIRST_SYNC_WITHIN, len(begin) - size)):
        if all(byte == _SYNC for byte in begin[first : first + 4 * size : size]):
            return True
    return False
