"""Sources of frames.  One file per kind; `open_source` finds the kind from the user's text."""

from __future__ import annotations

import logging
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.image_files import (
    LIST_SUFFIXES,
    ImageFiles,
    images_of_folder,
    images_of_glob,
)
from rkdeploy.device.stream.sources.network_stream import NetworkStream
from rkdeploy.device.stream.sources.several import combined
from rkdeploy.device.stream.sources.stream_address import is_stream_address, redacted
from rkdeploy.device.stream.sources.streams_file import STREAMS_SUFFIX, streams_in
from rkdeploy.device.stream.sources.video_file import VIDEO_SUFFIXES, VideoFile
from rkdeploy.errors import SourceError
from rkdeploy.images.file import IMAGE_SUFFIXES, is_image_name
from rkdeploy.images.list_file import paths_in_list
from rkdeploy.system.plugins import SOURCES, load_plugin, plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.device.stream.sources.source import Source

_LOG = logging.getLogger(__name__)

_CAMERA_DEVICE = re.compile(r"/dev/video(\d+)")
_FORMS = (
    'Give an image file, a folder of images, a pattern in quotes ("images/*.jpg"), a list file (.txt, one path per '
    "line), a video file, the address of a stream (rtsp://...), or a file of such addresses (.streams). A camera is "
    "--camera 0."
)


def open_sources(
    texts: Sequence[str],
    cameras: Sequence[Source] = (),
    on_unreadable: Callable[[SourceError], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Source:
    """Find what the texts name, as `open_source` does, and put it together with cameras into one source.

    Args:
        texts: sources; image files that follow each other become one source of images.
        cameras: not entered.
        on_unreadable: see `open_source`.
        notify: see `open_source`.

    Raises:
        SourceError: when one names nothing that can be read, or files and live sources are mixed.
    """
    found = [open_source(text, on_unreadable, notify) for text in texts]
    if len(found) > 1 and all(isinstance(one, ImageFiles) for one in found):
        paths = tuple(chain.from_iterable(one.paths for one in found if isinstance(one, ImageFiles)))
        return ImageFiles(f"{texts[0]} and {len(texts) - 1} more", paths, on_unreadable)
    return combined([*found, *cameras])


def open_source(
    text: str,
    on_unreadable: Callable[[SourceError], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Source:
    """Find the source that `text` names; its files are opened when it is entered.

        with open_source("images/") as frames:
            for frame in frames: ...

    Args:
        text: an image file, a folder (its images, sorted), a glob, a list file, a video file, a stream's address, a
            file of streams, or an address whose scheme a plug-in knows.
        on_unreadable: for image files: called with the error of one that cannot be read, which is then left out.
            None ends the run with that error.
        notify: called with a message when a stream's connection is lost, when it is back, and when the hardware's video
            decoder fails.

    Raises:
        SourceError: when it names nothing that can be read; and while frames are read.
    """
    _LOG.debug("source %s", redacted(text))
    if not text.strip():
        raise SourceError("The source is empty.", _FORMS)
    if is_stream_address(text):
        return NetworkStream(text.strip(), notify=notify)
    scheme, separator, _ = text.partition("://")
    if separator and scheme in plugins(SOURCES):
        source: Source = load_plugin(plugins(SOURCES)[scheme])(text, notify)
        return source
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return ImageFiles(text, images_of_folder(path), on_unreadable)
        exists, regular = path.exists(), path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL character
        raise SourceError(f'Source "{text}" is not a valid path: {error}.', _FORMS) from error
    if separator:
        raise SourceError(f'Source "{redacted(text)}" has the unknown scheme "{scheme}".', _FORMS)
    if not exists:
        if any(character in text for character in "*?["):
            return ImageFiles(text, images_of_glob(str(path)), on_unreadable)
        if text.isdecimal():
            raise SourceError(f'Source "{text}" is a camera number, expected a path.', f"Use --camera {text}.")
        raise SourceError(f'Source "{text}" does not exist (in {Path.cwd()}).', _FORMS)
    if not regular:
        if camera := _CAMERA_DEVICE.fullmatch(text):
            raise SourceError(f'Source "{text}" is a camera device, expected a path.', f"Use --camera {camera[1]}.")
        raise SourceError(f'Source "{text}" is a device or pipe, expected a file.', _FORMS)
    suffix = path.suffix.lower()
    if is_image_name(path.name):
        return ImageFiles(text, (path,), on_unreadable)
    if suffix in VIDEO_SUFFIXES:
        return VideoFile(text, path, notify)
    if suffix in LIST_SUFFIXES:
        return ImageFiles(text, paths_in_list(path), on_unreadable)
    if suffix == STREAMS_SUFFIX:
        return _source_of_streams(path, on_unreadable, notify)
    known = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES | LIST_SUFFIXES | {STREAMS_SUFFIX}))
    raise SourceError(f'Source "{text}" has the file name ending "{path.suffix}", expected one of {known}.')


def _source_of_streams(
    file: Path, on_unreadable: Callable[[SourceError], None] | None, notify: Callable[[str], None] | None
) -> Source:
    """All sources of a file of streams as one; those with a name go by it."""
    found: list[Source] = []
    for listed in streams_in(file):
        camera = _CAMERA_DEVICE.fullmatch(listed.text)
        if camera:
            source: Source = Camera(int(camera[1]), notify=notify)
        elif "://" in listed.text:
            source = open_source(listed.text, on_unreadable, notify)
        else:
            source = open_source(str(file.parent / listed.text), on_unreadable, notify)
        source.text = listed.name or source.text
        found.append(source)
    return combined(found)
