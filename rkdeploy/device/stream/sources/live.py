"""Common parts of cameras and network streams: frames that cannot wait, and a connection that can be lost."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.stream.backoff import Backoff
from rkdeploy.device.stream.frames import Frame
from rkdeploy.errors import SourceError
from rkdeploy.images.header import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray

    from rkdeploy.device.stream.frame_picture import FramePicture
    from rkdeploy.device.stream.sources.video_capture import Capture

_LOG = logging.getLogger(__name__)

RECONNECT = Backoff(first_s=0.5, max_s=15.0)
_RELEASE_PATIENCE_S = 1.0
_PLAUSIBLE_FRAMES_PER_SECOND = 240.0  # some RTSP cameras report their clock rate, 90000


class LiveCapture:
    """Frames of a capture that is opened again after a loss, with growing pauses, without a limit.

    Only the first opening may fail.  The frames must be taken as they come, from one thread; `Pipeline` does.

    Args:
        text: name for messages and frames, without passwords.
        open_capture: opens the capture, or raises SourceError.
        backoff: pauses between attempts.
        notify: called with one sentence when the source is lost, and when it is back.
    """

    def __init__(
        self,
        text: str,
        open_capture: Callable[[], Capture],
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
        self._capture: Capture | None = None

    def __enter__(self) -> Iterator[Frame]:
        self._stopped.clear()
        self.reconnects = 0
        self._capture = self._open_capture()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        plausible = math.isfinite(rate) and 0 < rate <= _PLAUSIBLE_FRAMES_PER_SECOND
        self.frames_per_second = rate if plausible else None
        width, height = (self._capture.get(one) for one in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        _LOG.debug("%s: %.0fx%.0f at %.3g frames per second", self.text, width, height, rate)
        self._opened(self._capture)
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # Releasing a capture during a hanging read would crash; it stays open until the process ends.
        if self._reading.acquire(timeout=_RELEASE_PATIENCE_S):
            try:
                self._release()
            finally:
                self._reading.release()

    def stop(self) -> None:
        """End the frames after the current read, or at once while reconnecting."""
        self._stopped.set()

    def _opened(self, capture: Capture) -> None:
        """Inspect a capture that was opened for the first time."""

    def _ended(self, index: int) -> bool:
        """True if a missing frame `index` is the end of the source, False if the source was lost."""
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
            content = self._read()
            if content is None:
                if self._stopped.is_set() or self._ended(index):
                    return
                if failures == 0:
                    lost_s = time.monotonic()
                    self._notify(f"{self.text}: no more frames, reconnecting.")
                failures += 1
                self._reopen(failures)
                continue
            if failures:
                self._notify(f"{self.text}: receiving frames again after {time.monotonic() - lost_s:.1f} s.")
                failures = 0
            yield Frame(content, self.text, index, (time.monotonic() - started) * 1e3)
            index += 1

    def _read(self) -> NDArray[np.uint8] | FramePicture | None:
        with self._reading:
            if self._capture is None:
                return None
            try:
                got, content = self._capture.read()
            except cv2.error:
                return None
        if not got or content is None:
            return None
        height, width = content.shape[:2] if isinstance(content, np.ndarray) else content.size_hw
        if height * width > MAX_PIXELS:
            raise SourceError(f'"{self.text}" gave a frame of {width}x{height}, above {MAX_PIXELS}.')
        return content if height * width else None

    def _reopen(self, failures: int) -> None:
        """Try to open the capture again; the next read shows whether it worked."""
        with self._reading:
            self._release()
        if self._stopped.wait(self._backoff.delay_s(failures)):
            return
        try:
            capture = self._open_capture()
        except SourceError as error:
            _LOG.debug("%s: attempt %d to reconnect failed: %s", self.text, failures, error.message)
            return
        _LOG.debug("%s: opened again in attempt %d", self.text, failures)
        with self._reading:
            self._capture = capture
        self.reconnects += 1
