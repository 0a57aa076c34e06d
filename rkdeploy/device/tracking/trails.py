"""The way of each track in the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from rkdeploy.device.tracking.found_tracks import Point

_LONGEST_S: Final = 2.0
_MOST_POINTS: Final = 64


class Trails:
    """The points of the tracks of one stream, at most 64 of the last 2 s each."""

    def __init__(self) -> None:
        self._points: dict[int, deque[tuple[float, Point]]] = {}

    def add(self, track_id: int, point: Point, time_s: float) -> None:
        """Add the place of a track, x, y in pixels."""
        points = self._points.setdefault(track_id, deque(maxlen=_MOST_POINTS))
        points.append((time_s, point))
        while points[0][0] < time_s - _LONGEST_S:
            points.popleft()

    def of(self, track_id: int) -> tuple[Point, ...]:
        """The places of a track, oldest first; none of an unknown one."""
        return tuple(point for _, point in self._points.get(track_id, ()))

    def forget(self, track_ids: Iterable[int]) -> None:
        """Forget tracks that have ended."""
        for track_id in track_ids:
            self._points.pop(track_id, None)
