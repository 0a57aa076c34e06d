"""What the pipeline hands over and viewers pick up: the newest frame, and the detections of the last few hundred.

`put` is all that the pipeline's thread ever does for viewers: it replaces three references under a lock.  There is one
ring of detections for all viewers; each has only a position in it.  Whoever falls further behind than the ring is long
goes on with the oldest that is there: that is a bounded queue a viewer with the oldest dropped, at no cost a viewer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rkdeploy.stream.frames import Frame
from rkdeploy.stream.sinks.jsonl import jsonl_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.postprocess.detections import Detections

RING = 256
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


@dataclass(slots=True, eq=False)
class Found:
    """The detections of one frame, without its picture.

    Attributes:
        number: running number of what the sink was given, from 1.
    """

    number: int
    source: str
    index: int
    detections: Detections
    _line: str = field(default="", repr=False)

    def line(self, class_names: Sequence[str]) -> str:
        """As `--jsonl` writes it; made once for all viewers, by the server's thread."""
        if not self._line:
            self._line = jsonl_line(Frame(_NO_IMAGE, self.source, self.index), self.detections, class_names)
        return self._line


@dataclass(frozen=True, slots=True, eq=False)
class Newest:
    """The newest frame and its number, from 1."""

    number: int
    frame: Frame
    detections: Detections


class Slot:
    """Between the pipeline's thread and the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Newest | None = None
        self._ring: deque[Found] = deque(maxlen=RING)
        self._number = 0
        self._since_s = time.monotonic()

    def put(self, frame: Frame, detections: Detections) -> None:
        """Take one frame; O(1), never waits for a viewer."""
        with self._lock:
            self._number += 1
            self._newest = Newest(self._number, frame, detections)
            self._ring.append(Found(self._number, frame.source, frame.index, detections))
            self._since_s = time.monotonic()

    def newest(self) -> Newest | None:
        """The last frame that came."""
        with self._lock:
            return self._newest

    def number(self) -> int:
        """How many have come."""
        with self._lock:
            return self._number

    def found_after(self, number: int) -> list[Found]:
        """The detections after a number that are still there, in order."""
        with self._lock:
            count = min(self._number - number, len(self._ring))
            return [self._ring[i] for i in range(-count, 0)] if count > 0 else []

    def seconds_since(self) -> float:
        """Time since the last frame, or since the start when none has come."""
        with self._lock:
            return time.monotonic() - self._since_s
