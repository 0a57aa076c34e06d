"""Tracks that cross a line, each crossing once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from rkdeploy.device.tracking.anchored_track import AnchoredTrack
from rkdeploy.device.tracking.found_tracks import Crossing, LineCount, Point


class LineCounter:
    """Counts the crossings of one line.

    A track is on the side where it was seen first, and changes the side when it is farther beyond the line than its
    margin, so that a box that trembles on the line counts once.  The straight way from where it was last on the old
    side must meet the line between its ends.

    Args:
        name: of the line.
        points: its two ends, x, y in pixels, apart from each other.
    """

    def __init__(self, name: str, points: tuple[Point, Point]) -> None:
        self._name, self._points = name, points
        (x1, y1), (x2, y2) = points
        self._length = math.hypot(x2 - x1, y2 - y1)
        self._along = (x2 - x1) / self._length, (y2 - y1) / self._length
        self._last: dict[int, Point] = {}
        self._entered: Counter[int] = Counter()
        self._left: Counter[int] = Counter()

    def update(self, tracks: Iterable[AnchoredTrack]) -> list[Crossing]:
        """Take the tracks of a frame; return the crossings in it."""
        crossings = []
        for track in tracks:
            here = self._relative(track.point)
            before = self._last.setdefault(track.track_id, here)
            if here[1] * before[1] > 0 or before[1] == 0:
                self._last[track.track_id] = here
            elif abs(here[1]) > track.margin:
                self._last[track.track_id] = here
                crossings += self._crossing(track, before, here)
        return crossings

    def forget(self, track_ids: Iterable[int]) -> None:
        """Forget tracks that have ended."""
        for track_id in track_ids:
            self._last.pop(track_id, None)

    def count(self) -> LineCount:
        """The crossings so far."""
        return LineCount(self._name, self._points, dict(self._entered), dict(self._left))

    def _relative(self, point: Point) -> Point:
        """A point along the line from its first end and across it, to the right, in pixels."""
        x, y = point[0] - self._points[0][0], point[1] - self._points[0][1]
        return x * self._along[0] + y * self._along[1], y * self._along[0] - x * self._along[1]

    def _crossing(self, track: AnchoredTrack, before: Point, here: Point) -> list[Crossing]:
        """The crossing of a track that changed the side; none where it went around an end of the line."""
        share = before[1] / (before[1] - here[1])
        if not 0 <= before[0] + (here[0] - before[0]) * share <= self._length:
            return []
        if here[1] > 0:
            self._entered[track.class_id] += 1
            return [Crossing(self._name, "in", track.track_id, track.class_id)]
        self._left[track.class_id] += 1
        return [Crossing(self._name, "out", track.track_id, track.class_id)]
