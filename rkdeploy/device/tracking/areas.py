"""Lines and zones of a picture: their names and points, given in pixels or in fractions of the frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rkdeploy.device.tracking.found_tracks import Point
from rkdeploy.errors import RkdeployError

_MOST_POINTS: Final = 64
_FARTHEST: Final = 1e5
_LINE_HINT: Final = "Write NAME:x1,y1,x2,y2, in pixels, or in fractions of the frame (all from 0 to 1)."
_ZONE_HINT: Final = "Write NAME:x1,y1,x2,y2,x3,y3 with three or more corners, in pixels or in fractions of the frame."


@dataclass(frozen=True, slots=True)
class Area:
    """A line, or a zone.

    Attributes:
        name: for results.
        points: two ends of a line, three or more corners of a zone; x, y in pixels, or in fractions of the frame where
            all of them are from 0 to 1.
        source: name of the stream that has it; empty for all.
    """

    name: str
    points: tuple[Point, ...]
    source: str = ""

    @property
    def is_line(self) -> bool:
        """True for a line."""
        return len(self.points) == 2

    def in_pixels(self, frame_hw: tuple[int, int]) -> tuple[Point, ...]:
        """The points in pixels of a frame."""
        if not all(0 <= x <= 1 and 0 <= y <= 1 for x, y in self.points):
            return self.points
        return tuple((x * frame_hw[1], y * frame_hw[0]) for x, y in self.points)


def line_of(name: str, points: Sequence[Point], source: str = "") -> Area:
    """A line.

    Raises:
        RkdeployError: for a name or points that make none.
    """
    _require_points(f'Line "{name}"', name, points, _LINE_HINT)
    if len(points) != 2:
        raise RkdeployError(f'Line "{name}" has {len(points)} points, expected 2.', _LINE_HINT)
    if points[0] == points[1]:
        raise RkdeployError(f'Line "{name}" has a length of 0: both ends are one point.', _LINE_HINT)
    return Area(name, tuple(points), source)


def zone_of(name: str, points: Sequence[Point], source: str = "") -> Area:
    """A zone.

    Raises:
        RkdeployError: for a name or points that make none.
    """
    _require_points(f'Zone "{name}"', name, points, _ZONE_HINT)
    if not 3 <= len(points) <= _MOST_POINTS:
        raise RkdeployError(f'Zone "{name}" has {len(points)} corners, expected 3 to {_MOST_POINTS}.', _ZONE_HINT)
    following = (*points[1:], points[0])
    if sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, following, strict=True)) == 0:
        raise RkdeployError(f'Zone "{name}" has an area of 0.', _ZONE_HINT)
    return Area(name, tuple(points), source)


def line_from_text(text: str) -> Area:
    """A line from `NAME:x1,y1,x2,y2`.

    Raises:
        RkdeployError: for other texts.
    """
    return line_of(*_named_points(text, "Line", _LINE_HINT))


def zone_from_text(text: str) -> Area:
    """A zone from `NAME:x1,y1,x2,y2,x3,y3`.

    Raises:
        RkdeployError: for other texts.
    """
    return zone_of(*_named_points(text, "Zone", _ZONE_HINT))


def require_names_once(areas: Iterable[Area]) -> None:
    """Check that a stream has no two lines, nor two zones, of one name.

    Raises:
        RkdeployError: naming the first one.
    """
    seen: set[tuple[bool, str, str]] = set()
    for area in areas:
        everywhere, here = (area.is_line, area.name, ""), (area.is_line, area.name, area.source)
        if everywhere in seen or here in seen:
            kind = "Line" if area.is_line else "Zone"
            raise RkdeployError(f'{kind} "{area.name}" is given twice.', "Use different names.")
        seen.add(here)


def _named_points(text: str, kind: str, hint: str) -> tuple[str, tuple[Point, ...]]:
    name, _, numbers = text.rpartition(":")
    try:
        values = [float(word) for word in numbers.split(",")]
    except ValueError:
        raise RkdeployError(f'{kind} "{text}" has words that are not numbers.', hint) from None
    if len(values) % 2:
        raise RkdeployError(f'{kind} "{text}" has {len(values)} numbers, expected an even count.', hint)
    return name.strip(), tuple(zip(values[::2], values[1::2], strict=True))


def _require_points(what: str, name: str, points: Sequence[Point], hint: str) -> None:
    if not name:
        raise RkdeployError(f"{what} has no name.", hint)
    if not all(math.isfinite(value) and abs(value) <= _FARTHEST for point in points for value in point):
        raise RkdeployError(f"{what} has a coordinate beyond {_FARTHEST:.0f} pixels.", hint)
