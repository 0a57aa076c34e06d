"""Options of tracking.  Light: `rkdeploy run -h` needs neither numpy nor OpenCV for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rkdeploy.option import TRACKING, Option


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """Tracking in a run.

    Attributes:
        track: whether objects get ids; lines and zones imply it.
        lost_s: seconds that a track is kept without a detection.
        low: scores above it continue tracks.
        per_class: whether each class is tracked by itself.
        lines, zones: as text.
        areas: file of lines and zones.
        anchor: point of a box that lines and zones look at.
    """

    track: Annotated[
        bool,
        Option("--track", "Give objects ids that last from frame to frame.", TRACKING, often=True),
    ] = False
    lost_s: Annotated[
        float,
        Option(
            "--track-buffer",
            "Seconds that an object keeps its id while it is not detected.",
            TRACKING,
            low=0,
            high=3600,
        ),
    ] = 1.0
    low: Annotated[
        float,
        Option(
            "--track-low",
            "Score above which a detection continues a track, although it is below --conf.",
            TRACKING,
            low=0,
            high=1,
        ),
    ] = 0.1
    per_class: Annotated[
        bool,
        Option(
            "--track-per-class",
            "Track each class by itself; by default an id belongs to an object, and its class is voted over its life.",
            TRACKING,
        ),
    ] = False
    lines: Annotated[
        tuple[str, ...],
        Option(
            "--line",
            "Count tracks that cross a line, in pixels or in fractions of the frame. Repeatable.",
            TRACKING,
            metavar="NAME:X,Y,X,Y",
        ),
    ] = ()
    zones: Annotated[
        tuple[str, ...],
        Option(
            "--zone",
            "Count tracks in a polygon and how long they stay, in pixels or in fractions of the frame. Repeatable.",
            TRACKING,
            metavar="NAME:X,Y,X,Y,X,Y,...",
        ),
    ] = ()
    areas: Annotated[
        Path | None,
        Option(
            "--areas", "File of lines and zones, also for single streams: .json or .toml.", TRACKING, metavar="FILE"
        ),
    ] = None
    anchor: Annotated[
        Literal["center", "bottom"],
        Option("--anchor", "Point of a box that --line and --zone look at.", TRACKING),
    ] = "center"

    @property
    def wanted(self) -> bool:
        """True if objects are tracked."""
        return self.track or bool(self.lines or self.zones or self.areas)
