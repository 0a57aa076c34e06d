"""Tracks and counts of a frame as plain data for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rkdeploy.device.tracking.found_tracks import FoundTracks, LineCount, ZoneCount


def track_fields(tracks: FoundTracks) -> list[dict[str, Any]]:
    """The fields of each object: `track_id`, null without a track, and `zones` where it is in one."""
    fields: list[dict[str, Any]] = [{"track_id": one or None} for one in tracks.ids.tolist()]
    for one, stays in zip(fields, tracks.stays, strict=True):
        if stays:
            one["zones"] = {name: round(seconds, 2) for name, seconds in stays.items()}
    return fields


def count_fields(tracks: FoundTracks, class_names: Sequence[str]) -> dict[str, Any]:
    """The fields of the frame: `crossings`, `lines` and `zones`, of those that there are."""
    fields: dict[str, Any] = {}
    if tracks.lines:
        fields["crossings"] = [
            {
                "line": one.line,
                "direction": one.direction,
                "track_id": one.track_id,
                "class_id": one.class_id,
                "class_name": class_names[one.class_id],
            }
            for one in tracks.crossings
        ]
        fields["lines"] = [line_object(line, class_names) for line in tracks.lines]
    if tracks.zones:
        fields["zones"] = [zone_object(zone, class_names) for zone in tracks.zones]
    return fields


def place_totals(tracks: FoundTracks) -> dict[str, Any]:
    """The counts of lines and zones by their names, over all classes: `lines` and `zones`, of those that there are."""
    totals: dict[str, Any] = {}
    if tracks.lines:
        totals["lines"] = {
            line.name: {"in": sum(line.entered.values()), "out": sum(line.left.values())} for line in tracks.lines
        }
    if tracks.zones:
        totals["zones"] = {
            zone.name: {
                "inside": sum(zone.inside.values()),
                "in": sum(zone.entered.values()),
                "out": sum(zone.left.values()),
            }
            for zone in tracks.zones
        }
    return totals


def line_object(line: LineCount, class_names: Sequence[str]) -> dict[str, Any]:
    """The counts of a line, by class name."""
    return {
        "name": line.name,
        "in": named_counts(line.entered, class_names),
        "out": named_counts(line.left, class_names),
    }


def zone_object(zone: ZoneCount, class_names: Sequence[str]) -> dict[str, Any]:
    """The counts of a zone, by class name, and its stays in seconds."""
    return {
        "name": zone.name,
        "inside": named_counts(zone.inside, class_names),
        "in": named_counts(zone.entered, class_names),
        "out": named_counts(zone.left, class_names),
        "visits": named_counts(zone.visits, class_names),
        "mean_stay_s": round(zone.mean_s, 2),
        "longest_stay_s": round(zone.longest_s, 2),
    }


def named_counts(counts: Mapping[int, int], class_names: Sequence[str]) -> dict[str, int]:
    """Counts by class id as counts by class name; ids of one name are added."""
    named: Counter[str] = Counter()
    for class_id, count in sorted(counts.items()):
        named[class_names[class_id]] += count
    return dict(named)
