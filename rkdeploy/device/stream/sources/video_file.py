"""Frames from a video file, decoded by FFmpeg."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sources.video_capture import decoder_of, open_file, video_package
from rkdeploy.device.stream.sources.video_container import require_container
from rkdeploy.errors import SourceError
from rkdeploy.images.file import opencv_log_silenced
from rkdeploy.images.header import MAX_PIXELS
from rkdeploy.system.file_names import path_for_opencv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from rkdeploy.device.stream.sources.video_capture import Capture

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".h264", ".h265", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)


class VideoFile:
    """A video file, frame by frame.

    FFmpeg reports "no more frames" both at the end and at damage.  They are distinguished by the frame count in the
    header, with a margin for headers that only estimate it (1 %, at least 2 frames).

    Args:
        text: name for messages and frames.
        path: the file.
        notify: called with one sentence when decoding leaves the hardware.

    Attributes:
        decoder: package and decoder, for users; empty until it is open.

    Raises on reading:
        SourceError: when decoding ends before the last frame, or a frame is above `MAX_PIXELS`.
    """

    def __init__(self, text: str, path: Path, notify: Callable[[str], None] | None = None) -> None:
        self.text = text
        self.path = path
        self.frame_count: int | None = None
        self.frames_per_second: float | None = None
        self.live = False
        self.reconnects = 0
        self.decoder = ""
        self._notify = notify or (lambda _text: None)
        self._capture: Capture | None = None

    def __enter__(self) -> Iterator[Frame]:
        require_container(self.path)
        with path_for_opencv(self.path) as name:
            capture = open_file(name, self._notify)
        if capture is None:
            raise SourceError(
                f'Video "{self.path}" cannot be opened: it is damaged, incomplete, or in a format that this build of '
                f"{video_package()} cannot decode.",
                "Check it with `ffprobe`, or re-encode it to H.264 in an mp4 file.",
            )
        self._capture, self.decoder = capture, decoder_of(capture)
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self._release()
            raise SourceError(f'Video "{self.path}" has {width}x{height} pixels, expected at most {MAX_PIXELS}.')
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if math.isfinite(count) and 0 < count < 1 << 31 else None
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if math.isfinite(rate) and 0 < rate <= 1000 else None
        return self._frames(capture)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def stop(self) -> None:
        """Nothing to stop: files never block."""

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _frames(self, capture: Capture) -> Iterator[Frame]:
        index = 0
        while True:
            with opencv_log_silenced():
                try:
                    got, content = capture.read()
                except cv2.error as error:
                    reason = " ".join(str(error.err).split())
                    raise SourceError(f'Video "{self.path}" failed at frame {index}: {reason}.') from error
            if not got:
                break
            yield Frame(content, self.text, index, float(capture.get(cv2.CAP_PROP_POS_MSEC)))
            index += 1
        if index == 0:
            raise SourceError(f'Video "{self.path}" holds no frame that can be decoded.')
        expected = self.frame_count
        if expected is not None and index < expected - max(2, expected // 100):
            raise SourceError(
                f'Video "{self.path}" cannot be decoded from frame {index} on; its header says {expected} frames.',
                "The file is damaged or cut off there.  Re-encode it, or use the part before that frame.",
            )
