"""Time stamps of a video from the times of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S

if TYPE_CHECKING:
    from rkdeploy.device.stream.frames import Frame

_MAX_STILL_S: Final = 10.0
_TICKS_PER_MS: Final = TICKS_PER_S / 1000


class StreamClock:
    """Gives each frame its place in the video: as far from the first one as when it was captured.

    Frames without a time are spaced by the rate.  A gap of more than 10 s becomes one of 10 s, and later frames move
    up.

    Args:
        frames_per_second: nominal.
    """

    def __init__(self, frames_per_second: float) -> None:
        self._step = TICKS_PER_S / frames_per_second
        self._start = 0.0
        self._last: int | None = None

    def time_of(self, frame: Frame) -> int:
        """The time of a frame in ticks, 0 of the first one, then growing."""
        at = frame.index * self._step if frame.timestamp_ms is None else frame.timestamp_ms * _TICKS_PER_MS
        if self._last is None:
            self._start, self._last = at, 0
            return 0
        latest = self._last + _MAX_STILL_S * TICKS_PER_S
        self._start = max(self._start, at - latest)
        self._last = max(self._last + 1, round(at - self._start))
        return self._last
