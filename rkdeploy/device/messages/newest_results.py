"""The newest result of each stream, for a sender that is slower than the frames."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.device.stream.sinks.jsonl import json_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import CaptureTime, Frame


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """The result of one frame, without its picture.

    Attributes:
        origin: position of its source among those of the run, from 0.
        source: name of it.
        index: number of the frame in it, from 0.
        size_hw: height and width of the frame in pixels.
        captured: when the frame was read.
        position_ms: milliseconds since the start of the source; None for images.
        detections: of the frame.
    """

    origin: int
    source: str
    index: int
    size_hw: tuple[int, int]
    captured: CaptureTime
    position_ms: float | None
    detections: Detections

    @classmethod
    def of(cls, frame: Frame, detections: Detections) -> StreamResult:
        """Result of a frame."""
        return cls(
            frame.origin, frame.source, frame.index, frame.size_hw, frame.captured, frame.timestamp_ms, detections
        )

    def line(self, class_names: Sequence[str]) -> str:
        """The JSON line of `run --json`, without embeddings."""
        return json_line(
            self.source,
            self.index,
            self.size_hw,
            self.detections,
            class_names,
            captured=self.captured,
            position_ms=self.position_ms,
            embeddings=False,
        )

    def counts(self, class_names: Sequence[str]) -> Counter[str]:
        """Number of detections by class name."""
        return Counter(class_names[i] for i in self.detections.class_ids.tolist())


class NewestResults:
    """Handover from the pipeline's thread to a sender's: the newest result of each stream wins.

    Args:
        every_s: least seconds between two results of a stream.

    Attributes:
        replaced: results that a newer one replaced before they were due.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._waiting: dict[int, StreamResult] = {}
        self._due_s: dict[int, float] = {}
        self._changed = threading.Condition()
        self._closed = False
        self.replaced = 0

    def put(self, result: StreamResult) -> None:
        """Store a result; O(1), never waits for the sender."""
        with self._changed:
            self.replaced += result.origin in self._waiting
            self._waiting[result.origin] = result
            self._changed.notify()

    def take(self) -> StreamResult | None:
        """Wait for a result that is due, and take it; None when it was closed and the rest is taken."""
        with self._changed:
            while True:
                now = time.monotonic()
                due = {origin: self._due_s.get(origin, 0.0) for origin in self._waiting}
                first = min(due, key=due.__getitem__, default=None)
                if first is not None and (due[first] <= now or self._closed):
                    self._due_s[first] = now + self._every_s
                    return self._waiting.pop(first)
                if self._closed:
                    return None
                self._changed.wait(None if first is None else due[first] - now)

    def close(self) -> None:
        """Let the sender take what waits, at once, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
