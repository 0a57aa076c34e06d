"""Ids, trails and counts of the frames of one stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.anchored_track import Anchor, anchored_tracks
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.byte_tracker import TrackerSettings
from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, ZoneCount
from rkdeploy.device.tracking.line_counter import LineCounter
from rkdeploy.device.tracking.object_ids import ObjectIds
from rkdeploy.device.tracking.trails import Trails
from rkdeploy.device.tracking.zone_counter import ZoneCounter

_LEAST_STEP_S: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class TrackingSettings:
    """Settings of tracking and counting.

    Attributes:
        high: (C,) float32, the threshold of each class: detections above it are results, and begin tracks.
        low: detections above it, up to that threshold, continue tracks, and are results then.
        tracker: of the tracks.
        areas: lines and zones of all streams.
        anchor: point of a box that lines and zones look at.
    """

    high: NDArray[np.float32]
    low: float = 0.1
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    areas: tuple[Area, ...] = ()
    anchor: Anchor = "center"


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """The tracks and counts of one stream so far.

    Attributes:
        source: name of the stream.
        tracks: number of ids that were given, by class id.
        lines, zones: counts.
        second_boxes: detections above their threshold that were left out as a second class of an object.
    """

    source: str
    tracks: Mapping[int, int]
    lines: tuple[LineCount, ...]
    zones: tuple[ZoneCount, ...]
    second_boxes: int = 0


class StreamTracker:
    """Follows the objects of one stream.

    Args:
        source: name of the stream; lines and zones of other streams are left out.
        settings: see `TrackingSettings`.
    """

    def __init__(self, source: str, settings: TrackingSettings) -> None:
        self._source, self._settings = source, settings
        self._areas = tuple(area for area in settings.areas if area.source in ("", source))
        self._objects = ObjectIds(settings.high, settings.low, settings.tracker)
        self._trails = Trails()
        self._lines: Sequence[LineCounter] = ()
        self._zones: Sequence[ZoneCounter] = ()
        self._frame_hw: tuple[int, int] | None = None
        self._time_s: float | None = None

    def track(self, found: Detections, frame_hw: tuple[int, int], time_s: float | None) -> Detections:
        """Take the detections of the next frame.

        Args:
            found: with all scores above the low threshold.
            frame_hw: height and width of the frame.
            time_s: of the frame; a time that is unknown, or not later than the one before, is taken as a step of the
                filter after it.

        Returns:
            The detections with `tracks`, each with the class of its track; those that neither reach their threshold nor
            belong to a track are left out, and, unless classes are tracked apart, second boxes of an object too.
        """
        time_s = self._time_s = self._later(time_s)
        self._place_areas(frame_hw)
        objects = self._objects.update(found, time_s)
        found, ids = objects.found, objects.ids
        anchored = anchored_tracks(found.xyxy, found.class_ids, ids, self._settings.anchor)
        for track in anchored:
            self._trails.add(track.track_id, track.point, time_s)
        self._forget(objects.ended)
        crossings = tuple([crossing for line in self._lines for crossing in line.update(anchored)])
        for zone in self._zones:
            zone.update(anchored, time_s)
        counts = self.counts()
        of_zones = [(zone.name, counter.stays()) for zone, counter in zip(counts.zones, self._zones, strict=True)]
        stays = tuple([{name: by_id[one] for name, by_id in of_zones if one in by_id} for one in ids.tolist()])
        trails = tuple([self._trails.of(one) for one in ids.tolist()])
        return replace(found, tracks=FoundTracks(ids, trails, stays, crossings, counts.lines, counts.zones))

    def counts(self) -> StreamCounts:
        """Tracks and counts so far."""
        lines = tuple([line.count() for line in self._lines])
        zones = tuple([zone.count() for zone in self._zones])
        return StreamCounts(self._source, self._objects.counts(), lines, zones, self._objects.second_boxes)

    def _forget(self, ended: tuple[int, ...]) -> None:
        self._trails.forget(ended)
        for line in self._lines:
            line.forget(ended)
        for zone in self._zones:
            zone.forget(ended)

    def _later(self, time_s: float | None) -> float:
        """The time of the frame, later than that of the one before."""
        if self._time_s is None:
            return time_s or 0.0
        if time_s is None or time_s < self._time_s + _LEAST_STEP_S:
            return self._time_s + 1 / self._settings.tracker.frame_rate
        return time_s

    def _place_areas(self, frame_hw: tuple[int, int]) -> None:
        """Make the counters of the lines and zones, in pixels of the first frame."""
        if self._frame_hw is not None:
            return
        self._frame_hw = frame_hw
        placed = [(area, area.in_pixels(frame_hw)) for area in self._areas]
        self._lines = [LineCounter(area.name, (points[0], points[1])) for area, points in placed if area.is_line]
        self._zones = [ZoneCounter(area.name, points) for area, points in placed if not area.is_line]
