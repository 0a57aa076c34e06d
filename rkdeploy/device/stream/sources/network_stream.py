"""RTSP, HTTP and other network streams, through OpenCV's FFmpeg."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.stream.sources.live import RECONNECT, LiveCapture, open_quietly
from rkdeploy.device.stream.sources.stream_address import host_and_port, redacted
from rkdeploy.device.stream.sources.video_file import FFMPEG_FATAL_ONLY
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkdeploy.device.stream.backoff import Backoff

OPEN_TIMEOUT_MS = 8000
READ_TIMEOUT_MS = 5000


class NetworkStream(LiveCapture):
    """A stream by its address; lost connections are restored.

    RTSP uses TCP: over UDP, lost packets become gray smears that look like frames.  Other FFmpeg options can be set in
    the environment variable OPENCV_FFMPEG_CAPTURE_OPTIONS, as OpenCV documents it (`key;value|key;value`).
    The timeouts are OpenCV's, which hold for every protocol; FFmpeg's own option has a different name in each version.

    An address of a video file (its length is known) is read like a file: `live` is False, and its end is the end.

    Args:
        url: with `user:password@` if the camera requires it; never shown.
        open_timeout_ms, read_timeout_ms: limits of the camera's silence.
        backoff, notify: as for `LiveCapture`.
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

    def _open_stream(self) -> cv2.VideoCapture:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_FATAL_ONLY)
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._open_timeout_ms]
        timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._read_timeout_ms]
        capture = open_quietly(self._url, cv2.CAP_FFMPEG, timeouts)
        if not capture.isOpened():
            capture.release()
            host = host_and_port(self._url)
            raise SourceError(
                f'Stream "{self.text}" cannot be opened within {self._open_timeout_ms / 1000:g} s.',
                f"Likely causes: {f'{host} is not reachable' if host else 'no host in the address'}, the path is "
                "another one (see the camera's manual), or user and password are missing or wrong "
                "(rtsp://user:password@host/path). `ffprobe` with the same address shows which.",
            )
        return capture

    def _opened(self, capture: cv2.VideoCapture) -> None:
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
