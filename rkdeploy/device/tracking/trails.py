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
        self._trails: dict[int, _Trail] = {}

    def add(self, track_id: int, point: Point, time_s: float) -> None:
        """Add the place of a track, x, y in pixels."""
        trail = self._trails.get(track_id)
        if trail is None:
            trail = self._trails[track_id] = _Trail()
        trail.times_s.append(time_s)
        trail.points.append(point)
        while trail.times_s[0] < time_s - _LONGEST_S:
            trail.times_s.popleft()
            trail.points.popleft()

    def of(self, track_id: int) -> tuple[Point, ...]:
        """The places of a track, oldest first; none of an unknown one."""
        trail = self._trails.get(track_id)
        return () if trail is None else tuple(trail.points)

    def forget(self, track_ids: Iterable[int]) -> None:
        """Forget tracks that have ended."""
        for track_id in track_ids:
            self._trails.pop(track_id, None)


class _Trail:
    """The last places of one track with their times."""

    __slots__ = ("points", "times_s")

    def __init__(self) -> None:
        self.times_s: deque[float] = deque(maxlen=_MOST_POINTS)
        self.points: deque[Point] = deque(maxlen=_MOST_POINTS)
