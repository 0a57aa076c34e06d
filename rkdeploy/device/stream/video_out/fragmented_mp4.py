"""An MP4 file that can be played up to its last whole second at any time, also after its writer was killed.

A header without pictures comes first, then fragments, each from one key picture to the next and written at once.
"""

from __future__ import annotations

import fcntl
import io
import os
from contextlib import suppress
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from rkdeploy.device.stream.video_out.video_packet import VideoFormat, VideoPacket

_FRAGMENTS: Final = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
_ENDS_OF_FRAGMENTS: Final = frozenset({b"mdat", b"mfra"})
_MOST_BOXES: Final = 1_000_000
_MOST_HEADER_BYTES: Final = 4096
_UNKNOWN_DURATION: Final = (1 << 32) - 1
_DURATIONS: Final = ((b"mvhd", 20, 1000), (b"tkhd", 24, 1000), (b"mdhd", 20, TICKS_PER_S))
"""Boxes of the header (ISO/IEC 14496-12, 8.2.2, 8.3.2, 8.4.2): where the duration is after the name, and its unit."""


class PacketMuxer:
    """Packets of one format into an open container of PyAV.

    Args:
        container: open for writing, with no streams.
        video: the format of the packets.

    Raises:
        ValueError, FFmpegError of PyAV: when the container does not take it.
    """

    def __init__(self, container: Any, video: VideoFormat) -> None:
        self._container = container
        # PyAV sets the parameters of a stream from another stream only.
        with import_module("av").open(io.BytesIO(video.head), format="h264") as template:
            self._stream = container.add_stream_from_template(template.streams.video[0])
        self._stream.time_base = Fraction(1, TICKS_PER_S)

    def write(self, packet: VideoPacket, start: int) -> None:
        """Write a packet, with its time counted from `start`, in ticks."""
        given = import_module("av").Packet(packet.data)
        given.time_base = Fraction(1, TICKS_PER_S)
        given.pts = given.dts = packet.time - start
        given.duration = packet.duration
        given.is_keyframe = packet.key
        given.stream = self._stream
        self._container.mux(given)


class _WholeWrites:
    """The file as PyAV writes it: a write of a part of the bytes, as at the end of a disk, is continued.

    Args:
        path: of the file.
        new: True to fail if it exists; otherwise it is emptied.
    """

    def __init__(self, path: Path, *, new: bool) -> None:
        self._file = path.open("x+b" if new else "w+b", buffering=0)
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # `cut_to_whole_fragments` leaves it alone
        self.name = str(path)

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(data)

    def tell(self) -> int:
        return self._file.tell()

    def cut(self, size: int) -> None:
        self._file.truncate(size)

    def set_duration(self, ticks: int) -> None:
        """Write a duration into the header, which players show and seek by; FFmpeg leaves 0 there."""
        self._file.seek(0)
        head = self._file.read(_MOST_HEADER_BYTES)
        for name, offset, scale in _DURATIONS:
            at = head.find(name)
            value = min(ticks * scale // TICKS_PER_S, _UNKNOWN_DURATION)
            if at > 0 and head[at + 4] == 0:  # the version of 32-bit times
                self._file.seek(at + offset)
                self._file.write(value.to_bytes(4, "big"))

    def close(self) -> None:
        self._file.close()


class FragmentedMp4:
    """Writes packets to a file; the first one is a key picture, and its time becomes 0.

    After an error the file ends with its last whole fragment.

    Args:
        path: of the file.
        video: the format of the packets.
        new: True to fail if the file exists; otherwise it is emptied.

    Raises:
        OSError: when it cannot be created.
    """

    def __init__(self, path: Path, video: VideoFormat, *, new: bool = False) -> None:
        self._file = _WholeWrites(path, new=new)
        self._whole_bytes = 0
        self._container = import_module("av").open(self._file, "w", format="mp4", container_options=_FRAGMENTS)
        self._muxer = PacketMuxer(self._container, video)
        self._start: int | None = None
        self._end = 0

    def write(self, packet: VideoPacket) -> None:
        """Write a packet; it is in the file when the next key picture is given, or at the end.

        Raises:
            OSError: when the file cannot be written.
        """
        if self._start is None:
            self._start = packet.time
        try:
            self._muxer.write(packet, self._start)
        except _errors() as error:
            self._file.cut(self._whole_bytes)
            raise _as_os_error(error) from error
        self._whole_bytes = self._file.tell()
        self._end = packet.time - self._start + packet.duration

    def close(self) -> None:
        """Write the last fragment and close the file.

        Raises:
            OSError: when it cannot be written; the file is closed.
        """
        try:
            self._container.close()
            if not self._file.closed:
                self._file.set_duration(self._end)
        except _errors() as error:
            self._file.cut(self._whole_bytes)
            raise _as_os_error(error) from error
        finally:
            self._file.close()


def cut_to_whole_fragments(path: Path) -> None:
    """Cut what follows the last whole fragment of a file that nothing writes any more; without any, remove the file.

    A file that cannot be changed, or that is none of ours, stays as it is.
    """
    with suppress(OSError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(file.fileno()).st_size
        whole = _whole_bytes(file, size)
        if whole == 0:
            path.unlink()
        elif whole < size:
            file.truncate(whole)


def _whole_bytes(file: BinaryIO, size: int) -> int:
    """Bytes up to the end of the last fragment; 0 without one."""
    at = whole = 0
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or length < 8 or at + length > size:
            break
        at += length
        if head[4:] in _ENDS_OF_FRAGMENTS:
            whole = at
    return whole


def _errors() -> tuple[type[Exception], ...]:
    return (import_module("av").error.FFmpegError, OSError, ValueError)


def _as_os_error(error: Exception) -> OSError:
    """The error with its sentence in `strerror`; PyAV has one of its own for each of FFmpeg's."""
    if isinstance(error, OSError) and error.strerror:
        return OSError(error.errno, error.strerror)
    return OSError(None, str(error) or type(error).__name__)
