"""Options of the videos of a run.  Light: `rkdeploy run -h` needs neither numpy nor OpenCV for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from rkdeploy.device.stream.video_out.keep_limits import KEEP, KeepLimits
from rkdeploy.option import RECORDING, Option


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Recordings of a run, beyond one video per source.

    Attributes:
        segment_s: length of the files that a video is divided into; None writes one file.
        keep: limits of all segments; the oldest are removed.
        publish: addresses that the drawn video is sent to.
        events: classes whose objects begin a clip; before_s, after_s: seconds in it around them.
        event_zones: names of zones in which they must be; event_stay_s: seconds that they must have been there.
    """

    segment_s: Annotated[
        float | None,
        Option(
            "--segment",
            "Divide the videos of --save into numbered files of so many seconds, in a folder per source.",
            RECORDING,
            metavar="SECONDS",
            low=1,
            high=86_400,
        ),
    ] = None
    keep: Annotated[
        KeepLimits | None,
        Option(
            "--keep",
            "Remove the oldest files of --segment and --event beyond a size (20GB) or an age (48h, 7d), or both "
            "(20GB,7d).",
            RECORDING,
            form=KEEP,
            default="all",
        ),
    ] = None
    publish: Annotated[
        tuple[str, ...],
        Option(
            "--publish",
            "Send the drawn video to a server: rtsp://, rtmp://, srt://, udp:// or tcp://. {stream} in the address "
            "stands for the source's name. Repeatable.",
            RECORDING,
            metavar="URL",
        ),
    ] = ()
    events: Annotated[
        tuple[str, ...],
        Option(
            "--event",
            "Save clips of this class only, with a snapshot of each, instead of whole videos. Repeatable.",
            RECORDING,
            metavar="CLASS",
        ),
    ] = ()
    before_s: Annotated[
        float,
        Option("--before", "Seconds in a clip before the first object.", RECORDING, metavar="SECONDS", low=0, high=60),
    ] = 5.0
    after_s: Annotated[
        float,
        Option("--after", "Seconds in a clip after the last object.", RECORDING, metavar="SECONDS", low=0, high=600),
    ] = 10.0
    event_zones: Annotated[
        tuple[str, ...],
        Option(
            "--event-zone",
            "Save clips of objects in this zone of --zone or --areas only. Repeatable.",
            RECORDING,
            metavar="NAME",
        ),
    ] = ()
    event_stay_s: Annotated[
        float,
        Option(
            "--event-stay",
            "Seconds that an object must have been in the zone before a clip begins.",
            RECORDING,
            metavar="SECONDS",
            low=0,
            high=3600,
        ),
    ] = 0.0
