"""Handover from the pipeline to the viewers: the newest frame of each stream, and the detections of the last hundreds.

`put` is all that the pipeline's thread does for viewers: it replaces a few references under a lock.  There is one
ring of detections for all viewers; each viewer only has a position in it.  A viewer that falls behind by more than the
ring's length resumes with the oldest entry: like a bounded queue per viewer that drops its oldest entries, at no cost
per viewer.  Masks, class maps and depth are large, so the ring is also bounded in bytes; a frame whose line has been
written keeps none.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rkdeploy.device.stream.sinks.jsonl import json_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import CaptureTime, Frame

RING = 256
"""Frames of each stream that the ring holds."""
RING_BYTES = 64 << 20
"""Limit of the masks and maps that wait to be written, of all streams: two maps of 20 frames of 1920 x 1080."""


@dataclass(slots=True, eq=False)
class FrameDetections:
    """The detections of one frame, without its image.

    Attributes:
        number: running number in the sink, from 1.
        stream: position of its stream in the view.
        place: running number in its stream, from 1.
        detections: None when the line has been written.
        pixel_bytes: memory of the masks and maps that wait to be written.
    """

    number: int
    stream: int
    place: int
    source: str
    index: int
    captured: CaptureTime
    position_ms: float | None
    image_hw: tuple[int, int]
    detections: Detections | None
    pixel_bytes: int
    _line: str = field(default="", repr=False)

    def line(self, class_names: Sequence[str]) -> str:
        """The line of `run --json`; written once for all viewers, in the server's thread."""
        if self.detections is not None:
            self._line = json_line(
                self.source,
                self.index,
                self.image_hw,
                self.detections,
                class_names,
                captured=self.captured,
                position_ms=self.position_ms,
            )
            self.detections = None  # masks and maps are a thousand times larger
            self.pixel_bytes = 0
        return self._line


@dataclass(frozen=True, slots=True, eq=False)
class NewestFrame:
    """The newest frame of a stream.

    Attributes:
        number: running number in the sink, from 1.
        place: running number in its stream, from 1.
        stream: position of its stream in the view.
    """

    number: int
    frame: Frame
    detections: Detections
    place: int = 1
    stream: int = 0


class FrameBuffer:
    """Buffer between the pipeline's thread and the server's.

    Args:
        streams: number of streams that are shown side by side; frames belong to them by their `origin`.  With 1, all
            frames do.
    """

    def __init__(self, streams: int = 1) -> None:
        self.streams = streams
        self._lock = threading.Lock()
        self._newest: list[NewestFrame | None] = [None] * streams
        self._places = [0] * streams
        self._since_s = [time.monotonic()] * streams
        self._ring: deque[FrameDetections] = deque(maxlen=RING * streams)
        self._number = 0

    def put(self, frame: Frame, detections: Detections) -> None:
        """Store one frame; O(1), never waits for a viewer."""
        stream = frame.origin if self.streams > 1 else 0
        with self._lock:
            self._number += 1
            self._places[stream] += 1
            place = self._places[stream]
            self._newest[stream] = NewestFrame(self._number, frame, detections, place, stream)
            size = _pixel_bytes(detections)
            self._ring.append(
                FrameDetections(
                    self._number,
                    stream,
                    place,
                    frame.source,
                    frame.index,
                    frame.captured,
                    frame.timestamp_ms,
                    frame.size_hw,
                    detections,
                    size,
                )
            )
            if size:
                self._bound_bytes()
            self._since_s[stream] = time.monotonic()

    def _bound_bytes(self) -> None:
        """Drop the oldest entries until the rest fits; the newest stays."""
        total = sum(found.pixel_bytes for found in self._ring)
        while total > RING_BYTES and len(self._ring) > 1:
            total -= self._ring.popleft().pixel_bytes

    def newest(self, stream: int = 0) -> NewestFrame | None:
        """The last frame of a stream that was stored."""
        with self._lock:
            return self._newest[stream]

    def number(self, stream: int | None = None) -> int:
        """Number of the last frame of a stream, or of all of them; 0 without one."""
        with self._lock:
            if stream is None:
                return self._number
            newest = self._newest[stream]
            return 0 if newest is None else newest.number

    def place(self, stream: int) -> int:
        """Number of frames of a stream."""
        with self._lock:
            return self._places[stream]

    def found_after(self, number: int) -> list[FrameDetections]:
        """The detections after a number that are still stored, in order."""
        with self._lock:
            count = min(self._number - number, len(self._ring))
            return [self._ring[i] for i in range(-count, 0)] if count > 0 else []

    def seconds_since(self, stream: int | None = None) -> float:
        """Seconds since the last frame of a stream, or of any; since the start when there was none."""
        with self._lock:
            since_s = max(self._since_s) if stream is None else self._since_s[stream]
            return time.monotonic() - since_s


def _pixel_bytes(detections: Detections) -> int:
    masks = sum(mask.pixels.nbytes for mask in detections.masks or ())
    depth = 0 if detections.depth is None else detections.depth.values.nbytes
    return masks + depth + sum(one.class_ids.nbytes for one in detections.class_maps)
