"""Sources of `Model.stream`, from the program's argument."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from rkdeploy.device.stream.sources.source import Source

_CAMERA_DEVICE = re.compile(r"/dev/video(\d+)")


def sources_of(named: Iterable[object], notify: Callable[[str], None] | None = None) -> list[Source]:
    """Find the sources that a program names, each as `source_of` does.

    Raises:
        SourceError: when there is none, one is given twice, or one names nothing that can be read.
    """
    sources = [source_of(one, notify) for one in named]
    if not sources:
        raise SourceError("There is no source.", "Name an image, a folder, a video, a stream or a camera.")
    texts = [source.text for source in sources]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise SourceError(f'Source "{twice}" is given twice.', "Name each source once.")
    return sources


def source_of(named: object, notify: Callable[[str], None] | None = None) -> Source:
    """Find the source that a program names.

    Args:
        named: an image, a folder, a pattern, a list file, a video or a stream's address, as `rkdeploy run` takes them;
            `/dev/video0` or a camera's number; an iterable of images; or a source of one's own.
        notify: called with one sentence when a camera or stream is lost, and when it is back.

    Raises:
        SourceError: when it names nothing that can be read.
    """
    from rkdeploy.device.stream.sources import open_source
    from rkdeploy.device.stream.sources.arrays import Arrays
    from rkdeploy.device.stream.sources.camera import Camera

    if isinstance(named, int) and not isinstance(named, bool):
        return Camera(named, notify=notify)
    if isinstance(named, (str, os.PathLike)):
        text = os.fspath(named)
        device = _CAMERA_DEVICE.fullmatch(text)
        return Camera(int(device[1]), notify=notify) if device else open_source(text, notify=notify)
    if all(hasattr(named, name) for name in ("__enter__", "stop", "live", "text")):
        return named  # type: ignore[return-value]  # a Source by its attributes: protocols with data have no isinstance
    if isinstance(named, Iterable) and not isinstance(named, (bytes, Path)):
        return Arrays(named)
    raise SourceError(
        f"The source is of type {type(named).__name__}.",
        "Give a path, an address, a camera's number, or an iterable of images.",
    )
