"""Decoders of the videos in a source, for a run's first lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.network_stream import NetworkStream
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.device.stream.sources.video_file import VideoFile

if TYPE_CHECKING:
    from rkdeploy.device.stream.sources.source import Source


def decoders_of(source: Source) -> tuple[str, ...]:
    """The packages and decoders of the parts that are open and hold video, each once."""
    videos = (part for part in parts_of(source) if isinstance(part, VideoFile | NetworkStream | Camera))
    return tuple(dict.fromkeys(part.decoder for part in videos if part.decoder))
