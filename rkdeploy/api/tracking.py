"""Tracking of a stream, as a program asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.tracking.stream_tracker import TrackingSettings

Points = Sequence[Sequence[float]]
"""Points x, y in pixels, or in fractions of the frame where all of them are from 0 to 1."""


def tracking_settings(
    spec: ModelSpec,
    thresholds: Thresholds,
    *,
    track: bool,
    track_buffer: float,
    track_low: float,
    track_per_class: bool,
    lines: Mapping[str, Points] | None,
    zones: Mapping[str, Points] | None,
    anchor: Literal["center", "bottom"],
) -> TrackingSettings | None:
    """Settings of what a stream tracks; None where it tracks nothing.  The arguments are those of `Model.stream`.

    Raises:
        RkdeployError: for a model that finds no objects, and for values out of their range.
    """
    if not (track or lines or zones):
        return None
    from rkdeploy.device.stream.run_tracking import require_objects
    from rkdeploy.device.tracking.areas import line_of, zone_of
    from rkdeploy.device.tracking.byte_tracker import TrackerSettings
    from rkdeploy.device.tracking.stream_tracker import TrackingSettings

    require_objects(spec)
    if not 0 <= track_buffer <= 3600:  # False for NaN too
        raise RkdeployError(f"track_buffer is {track_buffer}, expected 0 to 3600 seconds.")
    if not 0 <= track_low <= 1:
        raise RkdeployError(f"track_low is {track_low}, expected a number from 0 to 1.")
    if anchor not in ("center", "bottom"):
        raise RkdeployError(f'anchor is "{anchor}", expected "center" or "bottom".')
    areas = (
        *(line_of(name, _pairs(name, points)) for name, points in (lines or {}).items()),
        *(zone_of(name, _pairs(name, points)) for name, points in (zones or {}).items()),
    )
    high = thresholds.of_classes(len(spec.class_names))
    tracker = TrackerSettings(lost_s=track_buffer, per_class=track_per_class)
    return TrackingSettings(high, track_low, tracker, areas, anchor)


def _pairs(name: str, points: Any) -> list[tuple[float, float]]:
    try:
        return [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise RkdeployError(
            f'"{name}" has points that are not pairs of numbers.', "Write [(x1, y1), (x2, y2)]."
        ) from None
