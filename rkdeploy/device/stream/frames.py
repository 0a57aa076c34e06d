"""A frame: a picture and its origin."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.device.stream.frame_picture import picture_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.device.stream.frame_picture import FramePicture


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """Time at which a frame was read, on two clocks.

    Attributes:
        utc_s: seconds since 1970 in UTC; jumps when the clock is set.
        monotonic_s: seconds of the system's monotonic clock, which never jumps; for differences.
    """

    utc_s: float
    monotonic_s: float

    @classmethod
    def now(cls) -> CaptureTime:
        """Read both clocks."""
        return cls(time.time(), time.monotonic())

    @property
    def iso(self) -> str:
        """ISO 8601 in UTC with microseconds, such as `2026-12-01T04:20:00.123456Z`."""
        return datetime.fromtimestamp(self.utc_s, timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and its origin.

    Attributes:
        content: (H, W, 3) uint8 BGR in memory of its own, or a picture that is converted when it is asked for.
        source: the image file's path, or the text that the video or camera was opened with.
        index: running number within the opened source, from 0: the frame of a video, the position in a folder.
        timestamp_ms: milliseconds since the start of the source; None for images.
        origin: position of its source among those of the run, from 0.
        captured: when it was read.
    """

    content: NDArray[np.uint8] | FramePicture
    source: str
    index: int
    timestamp_ms: float | None = None
    origin: int = 0
    captured: CaptureTime = field(default_factory=CaptureTime.now)

    @property
    def picture(self) -> FramePicture:
        """The picture, which can be fitted into a network's input without converting all of it."""
        return picture_of(self.content)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The whole picture, (H, W, 3) uint8 BGR: for what draws, crops or saves.  Converted at the first call."""
        return self.picture.bgr()

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels, known without a conversion."""
        return self.picture.size_hw
