"""A sink that gives objects their ids before other sinks get them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rkdeploy.device.tracking.stream_tracker import StreamTracker

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.tracking.stream_tracker import StreamCounts, TrackingSettings


class TrackingSink:
    """Tracks the objects of each stream by itself, for all of several sinks.

    Args:
        settings: see `TrackingSettings`.
        sources: names of the streams, by `Frame.origin`.
        sinks: open; opened and closed by the caller.
        untimed: origins whose frames have times that say nothing of what they show.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        sources: Sequence[str],
        sinks: Sequence[Sink],
        untimed: Container[int] = (),
    ) -> None:
        self._untimed = untimed
        self._sinks = tuple(sinks)
        self._trackers = tuple(StreamTracker(source, settings) for source in sources)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Write one frame, later than those of its stream before, to all sinks.

        Raises:
            RkdeployError: when one cannot write it.
        """
        with self._lock:
            time_ms = None if frame.origin in self._untimed else frame.timestamp_ms
            time_s = None if time_ms is None else time_ms / 1e3
            tracked = self._trackers[frame.origin].track(detections, frame.size_hw, time_s)
        for sink in self._sinks:
            sink.write(frame, tracked)

    def counts(self) -> tuple[StreamCounts, ...]:
        """Tracks and counts of each stream so far; from any thread."""
        with self._lock:
            return tuple(tracker.counts() for tracker in self._trackers)
