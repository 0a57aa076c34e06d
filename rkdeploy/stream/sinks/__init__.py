"""Where frames and detections go.  One file a kind of sink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.stream.sinks.images import ImagesSink
from rkdeploy.stream.sinks.video import VideoSink
from rkdeploy.stream.sources.image_files import ImageFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.stream.sinks.protocol import Sink
    from rkdeploy.stream.sources.protocol import Source


def open_save_folder(folder: Path, source: Source, class_names: Sequence[str]) -> Sink:
    """The sink for `--save DIR`: images for image files, one mp4 named like the source for everything that moves.

    Call it when the source is open: a video knows its frame rate only then.
    """
    if isinstance(source, ImageFiles):
        return ImagesSink(folder, class_names)
    stem = Path(source.text).stem or "video"
    return VideoSink(folder / f"{stem}.mp4", class_names, source.frames_per_second)
