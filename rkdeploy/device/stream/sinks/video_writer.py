"""An annotated video file by OpenCV, where PyAV is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.stream.video_out.video_target import FULL_DISK, prepare_video_target, refuse_source
from rkdeploy.errors import RkdeployError
from rkdeploy.images.file import opencv_log_silenced
from rkdeploy.system.atomic_file import followed
from rkdeploy.system.file_names import path_for_opencv
from rkdeploy.system.partial_file import PartialFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

DEFAULT_FRAMES_PER_SECOND = 25.0
_MAX_STILL_S = 10.0


class VideoSink:
    """Draws every frame into one mp4 file (MPEG-4 part 2, which OpenCV's own FFmpeg can always encode, and no browser
    plays).

    Written next to its name; renamed when the context is left without an exception, removed otherwise.  The encoder
    reports no failure, so the file is read again before that: if a full disk truncated it, that is an error.  The size
    is that of the first frame; the encoder drops the last column or row of an odd one.

    Args:
        target: ends in `.mp4`.
        class_names: of the contract.
        frames_per_second: of the source; None for 25.
        keep_time: for live sources, which drop frames: an image is repeated until the time of the next one (for at
            most 10 s), and left out when it comes too early, so that the video plays in real time.
    """

    def __init__(
        self,
        target: Path,
        class_names: Sequence[str],
        frames_per_second: float | None = None,
        *,
        keep_time: bool = False,
    ) -> None:
        self._target = followed(target)
        self._class_names = tuple(class_names)
        self._frames_per_second = frames_per_second or DEFAULT_FRAMES_PER_SECOND
        self._partial: PartialFile | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._keep_time = keep_time
        self._start_ms = 0.0
        self._written = 0
        self._encoded = 0
        self._last: NDArray[np.uint8] | None = None

    def __enter__(self) -> Self:
        prepare_video_target(self._target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None or self._partial is None:
            return  # no frames: a video cannot be empty
        self._writer.release()
        self._writer = None
        try:
            if kind is None:
                self._require_playable(self._partial.path)
                self._partial.commit()
        except OSError as failure:
            raise RkdeployError(f'Video "{self._target}" cannot be written: {failure.strerror}.') from failure
        finally:
            self._partial.discard()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Draw and append one frame.

        Raises:
            RkdeployError: when the target is the source itself, the encoder cannot be opened, or the size of the frame
                differs from the first one's (the encoder would silently drop it).
        """
        height, width = frame.size_hw
        if self._writer is None:
            refuse_source(self._target, Path(frame.source))
            self._open(width, height)
        assert self._writer is not None
        if (width, height) != self._size_wh:
            raise RkdeployError(
                f'Frame {frame.index} of "{frame.source}" is {width}x{height}, expected '
                f"{self._size_wh[0]}x{self._size_wh[1]} like the first one.",
                "Save sources of different sizes as images.",
            )
        if not self._keep_time or frame.timestamp_ms is None:
            self._encode(draw_detections(frame.image, detections, self._class_names))
            return
        if self._last is None:
            self._start_ms = frame.timestamp_ms
        position = round((frame.timestamp_ms - self._start_ms) * self._frames_per_second / 1000)
        missing = position - self._written
        if missing < 0:
            return
        most = round(_MAX_STILL_S * self._frames_per_second)
        if missing > most:  # the time that is cut out must not be filled later
            self._start_ms += (missing - most) * 1000 / self._frames_per_second
            missing = most
        if self._last is not None:
            for _ in range(missing):
                self._encode(self._last)
        self._last = draw_detections(frame.image, detections, self._class_names)
        self._encode(self._last)
        self._written += missing + 1

    def _encode(self, image: NDArray[np.uint8]) -> None:
        assert self._writer is not None
        self._writer.write(image)
        self._encoded += 1

    def _require_playable(self, file: Path) -> None:
        with path_for_opencv(file) as name, opencv_log_silenced():
            reader = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
            try:
                readable, _ = reader.read()
                frames = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if readable else 0
            finally:
                reader.release()
        if frames < self._encoded - 1:  # FFmpeg's count, which may be rounded
            held = f"has {frames} of {self._encoded} frames" if readable else "cannot be read again"
            raise RkdeployError(f'Video "{self._target}" was not written: the file {held}.', FULL_DISK)

    def _open(self, width: int, height: int) -> None:
        try:
            self._partial = PartialFile(self._target)
        except OSError as error:
            raise RkdeployError(f'Video "{self._target}" cannot be written: {error.strerror}.') from error
        self._size_wh = (width, height)
        with path_for_opencv(self._partial.path) as name, opencv_log_silenced():
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(name, fourcc, self._frames_per_second, self._size_wh)
        if not writer.isOpened():
            writer.release()
            self._partial.discard()
            raise RkdeployError(
                f'Video "{self._target}" cannot be written: OpenCV {cv2.__version__} has no encoder for '
                f"{width}x{height} at {self._frames_per_second:g} frames per second.",
                "Save images or JSON lines instead.",
            )
        self._writer = writer
