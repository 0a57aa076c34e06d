"""Video through PyAV, in the form of `cv2.VideoCapture`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.device.stream.sources.hardware_decoder import HardwareDecoder, hardware_decoder
from rkdeploy.device.stream.sources.rga_fit import open_rga
from rkdeploy.device.stream.sources.video_decoder import VideoDecoder, opened_context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rkdeploy.device.stream.sources.video_decoder import TimedPicture

_MAX_EMPTY_PACKETS: Final = 4096  # in a row, as OpenCV's
_MICROSECONDS: Final = 1e6


def open_capture(
    name: str,
    options: dict[str, str],
    timeouts_ms: tuple[int, int] | None,
    notify: Callable[[str], None],
    *,
    hardware: bool,
) -> PyAvCapture | None:
    """Open a file or an address with PyAV; None when it cannot be opened or holds no video.

    Args:
        name: path or address.
        options: FFmpeg's, for the demuxer.
        timeouts_ms: limits of opening and of each read; None for files.
        notify: called with one sentence when decoding leaves the hardware.
        hardware: try the decoders of a board's hardware first.
    """
    av = import_module("av")  # at run time: it is optional
    limits = None if timeouts_ms is None else (timeouts_ms[0] / 1000, timeouts_ms[1] / 1000)
    try:
        container = av.open(name, options=options, timeout=limits, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    stream = container.streams.best("video")
    software = None if stream is None else opened_context(stream)
    if stream is None or software is None:
        container.close()
        return None
    accelerated = hardware_decoder(stream) if hardware else HardwareDecoder()
    rga = open_rga(notify) if accelerated.context is not None else None
    return PyAvCapture(container, stream, VideoDecoder(stream.start_time or 0, software, accelerated, notify, rga))


class PyAvCapture:
    """Frames of one video stream.

    Args:
        container: PyAV's, open.
        stream: the video stream of it.
        decoder: of that stream.
    """

    def __init__(self, container: Any, stream: Any, decoder: VideoDecoder) -> None:
        self._container, self._stream, self._decoder = container, stream, decoder
        self._errors = (import_module("av").error.FFmpegError, OSError, ValueError)
        self._pictures = self._read_pictures()
        self._position_ms = 0.0
        self._index = 0
        self._rate = float(stream.guessed_rate or stream.average_rate or 0)
        self._count = _frame_count(container, stream, self._rate)

    @property
    def decoder(self) -> str:
        """The decoder in use, for users: "h264_rkmpp" or "h264 in software"."""
        return self._decoder.name

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        """A property by OpenCV's number; 0 where it is not known."""
        context = self._stream.codec_context
        values = {
            cv2.CAP_PROP_FRAME_WIDTH: context.width,
            cv2.CAP_PROP_FRAME_HEIGHT: context.height,
            cv2.CAP_PROP_FPS: self._rate,
            cv2.CAP_PROP_FRAME_COUNT: self._count,
            cv2.CAP_PROP_POS_MSEC: self._position_ms,
        }
        return float(values.get(propId, 0.0))

    def read(self) -> tuple[bool, Any]:
        """Read the next frame: (True, picture as it was decoded), or (False, None) at an end or a loss."""
        try:
            picture = next(self._pictures, None)
        except self._errors:  # of the file or the connection; damaged pictures are passed over before
            return False, None
        if picture is None:
            return False, None
        by_rate = self._index * 1e3 / self._rate if self._rate else 0.0
        self._position_ms = by_rate if picture.time_ms is None else picture.time_ms
        self._index += 1
        return True, picture.picture

    def release(self) -> None:
        """Close the file or connection."""
        self._pictures.close()
        self._container.close()

    def _read_pictures(self) -> Generator[TimedPicture, None, None]:
        empty = 0
        for packet in self._container.demux(self._stream):
            empty += 1
            for picture in self._decoder.pictures(packet):
                empty = 0
                yield picture
            if empty > _MAX_EMPTY_PACKETS:
                return


def _frame_count(container: Any, stream: Any, rate: float) -> int:
    """Number of frames by the header, else by its duration; 0 where neither is known (a live stream)."""
    if stream.frames > 0:
        return int(stream.frames)
    seconds = container.duration / _MICROSECONDS if container.duration else 0.0
    return int(seconds * rate + 0.5)
