"""What cameras and network streams have in common: frames that don't wait, and a connection that can be lost."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.frames import Frame
from rkdeploy.errors import SourceError
from rkdeploy.images.file import MAX_PIXELS, opencv_log_silenced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

RECONNECT = Backoff(first_s=0.5, max_s=15.0)
_RELEASE_PATIENCE_S = 1.0
_PLAUSIBLE_FRAMES_PER_SECOND = 240.0  # some RTSP cameras state their clock, 90000


class LiveCapture:
    """Frames of an OpenCV capture that is opened again, with growing pauses, for as long as it takes.

    Only the first opening may fail.  The frames must be taken as they come, from one thread; `Pipeline` does.

    Args:
        text: how messages and frames name it, without passwords.
        open_capture: opens it, or raises SourceError.
        backoff: pauses between attempts.
        notify: told in one sentence when the source is lost, and when it is back.
    """

    def __init__(
        self,
        text: str,
        open_capture: Callable[[], cv2.VideoCapture],
        *,
        backoff: Backoff = RECONNECT,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.text = text
        self.frame_count: int | None = None
        self.frames_per_second: float | None = None
        self.live = True
        self.reconnects = 0
        self._open_capture = open_capture
        self._backoff = backoff
        self._notify = notify or (lambda _text: None)
        self._stopped = threading.Event()
        self._reading = threading.Lock()
        self._capture: cv2.VideoCapture | None = None

    def __enter__(self) -> Iterator[Frame]:
        self._stopped.clear()
        self.reconnects = 0
        self._capture = self._open_capture()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        plausible = math.isfinite(rate) and 0 < rate <= _PLAUSIBLE_FRAMES_PER_SECOND
        self.frames_per_second = rate if plausible else None
        self._opened(self._capture)
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # Releasing a capture under a read that hangs would crash; such a one is left to the end of the process.
        if self._reading.acquire(timeout=_RELEASE_PATIENCE_S):
            try:
                self._release()
            finally:
                self._reading.release()

    def stop(self) -> None:
        """End the frames after the read that is under way, or at once while it is being reconnected."""
        self._stopped.set()

    def _opened(self, capture: cv2.VideoCapture) -> None:
        """Look at a capture that was opened for the first time."""

    def _ended(self, index: int) -> bool:
        """Whether no frame `index` is the end of the source, not its loss."""
        del index
        return False

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _frames(self) -> Iterator[Frame]:
        started = time.monotonic()
        index = failures = 0
        lost_s = 0.0
        while not self._stopped.is_set():
            image = self._read()
            if image is None:
                if self._stopped.is_set() or self._ended(index):
                    return
                if failures == 0:
                    lost_s = time.monotonic()
                    self._notify(f"{self.text}: no more frames, connecting again.")
                failures += 1
                self._reopen(failures)
                continue
            if failures:
                self._notify(f"{self.text}: frames again after {time.monotonic() - lost_s:.1f} s.")
                failures = 0
            yield Frame(image, self.text, index, (time.monotonic() - started) * 1e3)
            index += 1

    def _read(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
        with self._reading:
            if self._capture is None:
                return None
            try:
                got, image = self._capture.read()
            except cv2.error:
                return None
        if not got or image is None or image.size == 0:
            return None
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            raise SourceError(f'"{self.text}" gave a frame of {image.shape[1]}x{image.shape[0]}, above {MAX_PIXELS}.')
        return np.asarray(image, np.uint8)

    def _reopen(self, failures: int) -> None:
        """One more attempt; whether it worked shows in the next read."""
        with self._reading:
            self._release()
        if self._stopped.wait(self._backoff.delay_s(failures)):
            return
        try:
            capture = self._open_capture()
        except SourceError:
            return
        with self._reading:
            self._capture = capture
        self.reconnects += 1


def open_quietly(target: str | int, api: int, properties: list[int]) -> cv2.VideoCapture:
    """An OpenCV capture, open or not, without OpenCV's own lines on stderr."""
    with opencv_log_silenced():
        try:
            return cv2.VideoCapture(target, api, properties)  # type: ignore[call-overload,no-any-return,unused-ignore]
        except cv2.error:
            return cv2.VideoCapture()
