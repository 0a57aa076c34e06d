"""Tracks of one frame's objects, and the counts up to it, as they are written and drawn.

Tuples of each frame are made from lists here and in `stream_tracker`.  One that is made from an iterator of unknown
length is cut to its length, and CPython (3.10 to 3.13) keeps up to 2,000 freed ones of each length below 20 for tuples
that are made with their length: memory would grow for some 100,000 frames, by 4 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["in", "out"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Crossing:
    """A track that crossed a line in this frame.

    Attributes:
        line: name of the line.
        direction: `in` from the left to the right of someone who looks from its first point to its second one.
        track_id, class_id: of the track.
    """

    line: str
    direction: Direction
    track_id: int
    class_id: int


@dataclass(frozen=True, slots=True)
class LineCount:
    """The crossings of a line so far.

    Attributes:
        name: of the line.
        points: its two ends, x, y in pixels.
        entered, left: number of crossings in and out, by class id.
    """

    name: str
    points: tuple[Point, Point]
    entered: Mapping[int, int]
    left: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ZoneCount:
    """The tracks in a zone.

    Attributes:
        name: of the zone.
        points: corners of the polygon, x, y in pixels.
        inside: number of tracks that are inside now, by class id; those that are lost for a moment count.
        entered, left: number of times that a track came in or went out, by class id; one that appears or is lost inside
            does neither.
        visits: number of stays of tracks, by class id.
        mean_s, longest_s: mean and longest stay in seconds, those that go on included; 0 without any.
    """

    name: str
    points: tuple[Point, ...]
    inside: Mapping[int, int]
    entered: Mapping[int, int]
    left: Mapping[int, int]
    visits: Mapping[int, int]
    mean_s: float
    longest_s: float


@dataclass(frozen=True, slots=True, eq=False)
class FoundTracks:
    """Tracks of the objects of a frame.

    Attributes:
        ids: (N,) int32, the id of each object's track, from 1; 0 where it has none (yet).
        trails: where each object was in the last seconds, oldest first: x, y in pixels.
        stays: for each object the zones that it is in, with the seconds that it has been there.
        crossings: of this frame.
        lines, zones: counts up to this frame.
    """

    ids: NDArray[np.int32]
    trails: tuple[tuple[Point, ...], ...]
    stays: tuple[Mapping[str, float], ...]
    crossings: tuple[Crossing, ...] = ()
    lines: tuple[LineCount, ...] = ()
    zones: tuple[ZoneCount, ...] = ()

    def where(self, kept: NDArray[np.bool_]) -> FoundTracks:
        """Those of the objects for which `kept`, (N,), is True; the counts stay."""
        chosen = kept.tolist()
        return replace(
            self,
            ids=self.ids[kept],
            trails=(*compress(self.trails, chosen),),
            stays=(*compress(self.stays, chosen),),
        )

    def scaled(self, scale_x: float, scale_y: float) -> FoundTracks:
        """The same in a picture of another size."""

        def moved(points: tuple[Point, ...]) -> tuple[Point, ...]:
            return tuple([(x * scale_x, y * scale_y) for x, y in points])

        return replace(
            self,
            trails=(*map(moved, self.trails),),
            lines=tuple([replace(one, points=(moved(one.points)[0], moved(one.points)[1])) for one in self.lines]),
            zones=tuple([replace(one, points=moved(one.points)) for one in self.zones]),
        )
