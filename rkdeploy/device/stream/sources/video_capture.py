"""The choice of the package that decodes video: PyAV where it is installed, OpenCV where it is not.

`RKDEPLOY_VIDEO` decides otherwise: `pyav`, `software` (PyAV without the decoders of a board's hardware) or `opencv`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2

from rkdeploy.errors import SourceError
from rkdeploy.images.file import opencv_log_silenced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VIDEO_VARIABLE: Final = "RKDEPLOY_VIDEO"
_FFMPEG_FATAL_ONLY: Final = "8"
_OPTIONS_VARIABLE: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_STREAM_OPTIONS: Final = "rtsp_transport;tcp"


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that the sources use."""

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        """A property by OpenCV's number: `cv2.CAP_PROP_FPS`, ..."""
        ...

    def read(self) -> tuple[bool, Any]:
        """Read the next frame: (True, `Frame.content`), or (False, None) at an end or a loss."""
        ...

    def release(self) -> None:
        """Close it."""
        ...


def video_package() -> str:
    """The package that decodes video in this process, with its version: "PyAV 18.1.0" or "OpenCV 4.11.0".

    Raises:
        SourceError: when `RKDEPLOY_VIDEO` has another value, or asks for PyAV and there is none.
    """
    return f"PyAV {import_module('av').__version__}" if uses_pyav() else f"OpenCV {cv2.__version__}"


def open_file(name: str, notify: Callable[[str], None]) -> Capture | None:
    """Open a video file; None when it cannot be opened.

    Args:
        name: absolute path, as `path_for_opencv` gives it.
        notify: called with one sentence when decoding leaves the hardware.
    """
    if uses_pyav():
        # No other protocol: a file must not lead to another machine.
        return _open_pyav(name, {"protocol_whitelist": "file"}, None, notify)
    # FFmpeg reports every damaged block on stderr; here one SourceError replaces them.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_FATAL_ONLY)
    return _opened(open_quietly(name, cv2.CAP_FFMPEG, []))


def open_stream(url: str, timeouts_ms: tuple[int, int], notify: Callable[[str], None]) -> Capture | None:
    """Open a network stream; None when it cannot be opened.

    Args:
        url: the address.
        timeouts_ms: limits of opening and of each read.
        notify: called with one sentence when decoding leaves the hardware.
    """
    if uses_pyav():
        return _open_pyav(url, _stream_options(), timeouts_ms, notify)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_FATAL_ONLY)
    os.environ.setdefault(_OPTIONS_VARIABLE, _STREAM_OPTIONS)
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeouts_ms[0], cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeouts_ms[1]]
    return _opened(open_quietly(url, cv2.CAP_FFMPEG, timeouts))


def decoded_jpegs(capture: cv2.VideoCapture, notify: Callable[[str], None]) -> Capture:
    """A camera that is set to motion JPEG, with its pictures decoded by PyAV where that is used.

    Args:
        capture: open; each read gives a picture.
        notify: called with one sentence when decoding leaves the hardware.
    """
    if not uses_pyav():
        return capture
    from rkdeploy.device.stream.sources.jpeg_capture import open_jpeg_capture

    decoded = open_jpeg_capture(capture, notify, hardware=os.environ.get(VIDEO_VARIABLE) != "software")
    return capture if decoded is None else decoded


def decoder_of(capture: Capture) -> str:
    """The package and decoder of an open capture, for users: "PyAV 18.1.0, h264 in software"."""
    chosen = getattr(capture, "decoder", "")
    return f"{video_package()}, {chosen}" if chosen else f"OpenCV {cv2.__version__}"


def open_quietly(target: str | int, api: int, properties: Sequence[int]) -> cv2.VideoCapture:
    """Open an OpenCV capture without OpenCV's own messages on stderr; it may fail to open."""
    with opencv_log_silenced():
        try:
            return cv2.VideoCapture(target, api, properties)  # type: ignore[call-overload,no-any-return,unused-ignore]
        except cv2.error:
            return cv2.VideoCapture()


def uses_pyav() -> bool:
    """Tell whether PyAV reads and writes video in this process; otherwise OpenCV does.

    Raises:
        SourceError: see `video_package`.
    """
    wanted = os.environ.get(VIDEO_VARIABLE, "")
    if wanted not in ("", "pyav", "software", "opencv"):
        raise SourceError(f'{VIDEO_VARIABLE} is "{wanted}", expected "pyav", "software" or "opencv".')
    if wanted == "opencv":
        return False
    try:
        import_module("av")
    except ImportError as error:
        if not wanted:
            return False
        raise SourceError(
            f"{VIDEO_VARIABLE}={wanted}, but PyAV cannot be imported: {error}.",
            'Install it with: pip install "rkdeploy[video]", on a board "rkdeploy[rkmpp]".',
        ) from error
    return True


def _open_pyav(
    name: str, options: dict[str, str], timeouts_ms: tuple[int, int] | None, notify: Callable[[str], None]
) -> Capture | None:
    from rkdeploy.device.stream.sources.pyav_capture import open_capture

    return open_capture(name, options, timeouts_ms, notify, hardware=tries_hardware())


def tries_hardware() -> bool:
    """Tell whether a board's video hardware is tried before software."""
    return os.environ.get(VIDEO_VARIABLE) != "software"


def _opened(capture: cv2.VideoCapture) -> cv2.VideoCapture | None:
    if capture.isOpened():
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # upright, where a phone says how it was held
        return capture
    capture.release()
    return None


def _stream_options() -> dict[str, str]:
    """FFmpeg's options of a stream, written as OpenCV documents them: `key;value|key;value`."""
    pairs = (pair.partition(";") for pair in os.environ.get(_OPTIONS_VARIABLE, _STREAM_OPTIONS).split("|"))
    return {key.strip(): value.strip() for key, separator, value in pairs if separator}
