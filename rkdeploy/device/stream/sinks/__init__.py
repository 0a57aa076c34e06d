"""Where frames and detections go.  One file a kind of sink."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.stream.sinks.images import ImagesSink
from rkdeploy.device.stream.sinks.video import VideoSink
from rkdeploy.device.stream.sources.image_files import ImageFiles
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.stream.sinks.protocol import Sink
    from rkdeploy.device.stream.sources.protocol import Source


def open_save_folder(folder: Path, source: Source, class_names: Sequence[str]) -> Sink:
    """The sink for `--save DIR`: images for image files, one mp4 named like the source for everything that moves.

    Call it when the source is open: a video knows its frame rate only then.
    """
    if isinstance(source, ImageFiles):
        return ImagesSink(folder, class_names)
    if source.live:
        # rtsp://***@10.0.0.7:554/cam1?x=1 becomes 10.0.0.7_554_cam1_x_1; a run that is started again overwrites nothing
        words = re.findall(r"[A-Za-z0-9.-]+", re.sub(r"^[a-z]+://", "", source.text))
        stem = f"{'_'.join(words) or 'live'}_{time.strftime('%Y%m%d-%H%M%S')}"
    else:
        stem = readable_name(Path(source.text.partition("?")[0]).stem) or "video"
    return VideoSink(folder / f"{stem[:120]}.mp4", class_names, source.frames_per_second, keep_time=source.live)
