"""Tracks inside of a zone: how many, how long, and how often they come and go."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rkdeploy.device.tracking.anchored_track import AnchoredTrack
from rkdeploy.device.tracking.found_tracks import Point, ZoneCount


@dataclass(slots=True)
class _Visit:
    """A track in the zone: since when, when it was seen last, and whether it came in over the edge."""

    class_id: int
    since_s: float
    seen_s: float
    entered: bool


class ZoneCounter:
    """Counts the tracks in one polygon.

    A track is where it was seen first, and comes in or goes out when it is farther beyond the edge than its margin.
    Where the class of a track changes during its stay, the stay is counted for the new one.

    Args:
        name: of the zone.
        points: its corners, x, y in pixels; edges may cross (even-odd rule).
    """

    def __init__(self, name: str, points: tuple[Point, ...]) -> None:
        self._name, self._points = name, points
        columns, rows = zip(*points, strict=True)
        self._around = min(columns), min(rows), max(columns), max(rows)
        self._visits: dict[int, _Visit] = {}
        self._outside: set[int] = set()
        self._entered: Counter[int] = Counter()
        self._left: Counter[int] = Counter()
        self._visited: Counter[int] = Counter()
        self._stayed_s, self._stays, self._longest_s = 0.0, 0, 0.0

    def update(self, tracks: Iterable[AnchoredTrack], time_s: float) -> None:
        """Take the tracks of a frame."""
        for track in tracks:
            depth = self._depth(track.point, track.margin)
            visit = self._visits.get(track.track_id)
            if visit is None:
                self._look_for_entry(track, depth, time_s)
                continue
            if visit.class_id != track.class_id:
                self._count_for(visit, track.class_id)
            if depth < -track.margin:
                self._left[visit.class_id] += 1
                self._end(track.track_id, time_s)
                self._outside.add(track.track_id)
            else:
                visit.seen_s = time_s

    def forget(self, track_ids: Iterable[int]) -> None:
        """End the visits of tracks that have ended, when they were seen last."""
        for track_id in track_ids:
            self._outside.discard(track_id)
            if track_id in self._visits:
                self._end(track_id, self._visits[track_id].seen_s)

    def stays(self) -> Mapping[int, float]:
        """Seconds that each track inside has been there, by its id."""
        return {track_id: visit.seen_s - visit.since_s for track_id, visit in self._visits.items()}

    def count(self) -> ZoneCount:
        """The counts so far."""
        under_way = [visit.seen_s - visit.since_s for visit in self._visits.values()]
        stays = self._stays + len(under_way)
        return ZoneCount(
            self._name,
            self._points,
            dict(Counter(visit.class_id for visit in self._visits.values())),
            dict(+self._entered),
            dict(self._left),
            dict(+self._visited),
            (self._stayed_s + sum(under_way)) / stays if stays else 0.0,
            max([self._longest_s, *under_way]),
        )

    def _look_for_entry(self, track: AnchoredTrack, depth: float, time_s: float) -> None:
        known = track.track_id in self._outside
        if depth <= (track.margin if known else 0.0):
            self._outside.add(track.track_id)
            return
        self._outside.discard(track.track_id)
        if known:
            self._entered[track.class_id] += 1
        self._visited[track.class_id] += 1
        self._visits[track.track_id] = _Visit(track.class_id, time_s, time_s, known)

    def _count_for(self, visit: _Visit, class_id: int) -> None:
        """Count a stay for another class."""
        for counter in (self._visited, self._entered) if visit.entered else (self._visited,):
            counter[visit.class_id] -= 1
            counter[class_id] += 1
        visit.class_id = class_id

    def _end(self, track_id: int, time_s: float) -> None:
        visit = self._visits.pop(track_id)
        stay_s = time_s - visit.since_s
        self._stayed_s += stay_s
        self._stays += 1
        self._longest_s = max(self._longest_s, stay_s)

    def _depth(self, point: Point, margin: float) -> float:
        """Distance in pixels to the nearest edge; below 0 outside, -inf where that is surely more than the margin."""
        x, y = point
        left, top, right, bottom = self._around
        if x < left - margin or x > right + margin or y < top - margin or y > bottom + margin:
            return -math.inf
        inside, nearest = False, math.inf
        x1, y1 = self._points[-1]
        for x2, y2 in self._points:
            dx, dy = x2 - x1, y2 - y1
            if (y1 > y) != (y2 > y) and x < x1 + dx * (y - y1) / dy:
                inside = not inside
            squared = dx * dx + dy * dy
            share = min(max(((x - x1) * dx + (y - y1) * dy) / squared, 0.0), 1.0) if squared else 0.0
            nearest = min(nearest, math.hypot(x1 + share * dx - x, y1 + share * dy - y))
            x1, y1 = x2, y2
        return nearest if inside else -nearest
