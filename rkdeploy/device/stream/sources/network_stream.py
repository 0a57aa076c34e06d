"""RTSP, HTTP and other network streams, through FFmpeg."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.stream.sources.live import RECONNECT, LiveCapture
from rkdeploy.device.stream.sources.stream_address import host_and_port, redacted
from rkdeploy.device.stream.sources.video_capture import decoder_of, open_stream
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkdeploy.device.stream.backoff import Backoff
    from rkdeploy.device.stream.sources.video_capture import Capture

OPEN_TIMEOUT_MS = 8000
READ_TIMEOUT_MS = 5000


class NetworkStream(LiveCapture):
    """A stream by its address; lost connections are restored.

    RTSP uses TCP: over UDP, lost packets become gray smears that look like frames.  Other FFmpeg options can be set in
    the environment variable OPENCV_FFMPEG_CAPTURE_OPTIONS, as OpenCV documents it (`key;value|key;value`).
    The timeouts hold for every protocol, unlike FFmpeg's own option, which has a different name in each version.

    An address of a video file (its length is known) is read like a file: `live` is False, and its end is the end.

    Args:
        url: with `user:password@` if the camera requires it; never shown.
        open_timeout_ms, read_timeout_ms: limits of the camera's silence.
        backoff, notify: as for `LiveCapture`; `notify` is also called when decoding leaves the hardware.

    Attributes:
        decoder: package and decoder, for users; empty until it is open.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout_ms: int = OPEN_TIMEOUT_MS,
        read_timeout_ms: int = READ_TIMEOUT_MS,
        backoff: Backoff = RECONNECT,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(redacted(url), self._open_stream, backoff=backoff, notify=notify)
        self._url = url
        self._open_timeout_ms, self._read_timeout_ms = open_timeout_ms, read_timeout_ms
        self.decoder = ""

    def _open_stream(self) -> Capture:
        capture = open_stream(self._url, (self._open_timeout_ms, self._read_timeout_ms), self._notify)
        if capture is None:
            host = host_and_port(self._url)
            raise SourceError(
                f'Stream "{self.text}" cannot be opened within {self._open_timeout_ms / 1000:g} s.',
                f"Likely causes: {f'{host} is not reachable' if host else 'no host in the address'}, the path is "
                "another one (see the camera's manual), or user and password are missing or wrong "
                "(rtsp://user:password@host/path). `ffprobe` with the same address shows which.",
            )
        return capture

    def _opened(self, capture: Capture) -> None:
        self.decoder = decoder_of(capture)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if math.isfinite(count) and 0 < count < 1 << 31 else None
        self.live = self.frame_count is None

    def _ended(self, index: int) -> bool:
        if self.frame_count is None:
            return False
        if index < self.frame_count - max(2, self.frame_count // 100):
            raise SourceError(
                f'Stream "{self.text}" ended at frame {index}; its header says {self.frame_count} frames.',
                "The connection was lost. Download the file and give its path.",
            )
        return True
