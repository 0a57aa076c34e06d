"""H.264 by PyAV: in a board's hardware while it works, else in software."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import cv2

from rkdeploy.device.stream.video_out.video_packet import TICKS_PER_S, VideoFormat, VideoPacket
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

_HARDWARE: Final = ("h264_rkmpp",)
_SOFTWARE: Final = ("libx264", "libopenh264")
_TRIED_SIZE: Final = (1280, 720)
_KEY_EVERY_S: Final = 1.0
_BITS_PER_PIXEL: Final = 0.1  # of encoders that want a rate: 6 Mbit/s at 1920x1080, 30 frames per second
_SMPTE170M: Final = 6  # BT.601's matrix, as OpenCV converts
_LIMITED_RANGE: Final = 1
_KEY_PICTURE: Final = 1  # AV_PICTURE_TYPE_I
_MOST_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """The encoders that can be opened here, best first.

    Attributes:
        package: PyAV with its version.
        names: FFmpeg's names, at least one.
        notes: a sentence for each hardware encoder that the package has and that cannot be opened.
    """

    package: str
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The encoder, for a run's first line."""
        place = "" if self.names[0] in _HARDWARE else " in software"
        return f"{self.package}, {self.names[0]}{place}"


def available_encoders(*, hardware: bool) -> EncoderChoice | None:
    """The encoders of H.264 that the installed PyAV can open, tried in small; None when there is none.

    Args:
        hardware: try those of a board's hardware first.
    """
    av = import_module("av")
    names: list[str] = []
    notes: list[str] = []
    for name in (*(_HARDWARE if hardware else ()), *_SOFTWARE):
        if name not in av.codecs_available:
            continue
        try:
            _opened(name, *_TRIED_SIZE, 25.0)
        except _errors() as error:
            if name in _HARDWARE:
                notes.append(f"The encoder {name} cannot be opened here ({error}); video is encoded in software.")
        else:
            names.append(name)
    return EncoderChoice(f"PyAV {av.__version__}", tuple(names), tuple(notes)) if names else None


class H264Encoder:
    """Encodes pictures of one size, each to a packet; key pictures are a second apart.

    Where an encoder fails under way, the next one resumes with the picture at hand, as a key picture of a new format.

    Args:
        names: FFmpeg's names of encoders, best first, at least one.
        size_wh: of the pictures, 2x2 or more; an odd last column or row is left out.
        frames_per_second: nominal; time stamps are given with the pictures.
        notify: called with one sentence when an encoder fails.

    Raises:
        RkdeployError: when none can be opened for this size.
    """

    def __init__(
        self, names: Sequence[str], size_wh: tuple[int, int], frames_per_second: float, notify: Callable[[str], None]
    ) -> None:
        self._names = list(names)
        self._width, self._height = size_wh[0] & ~1, size_wh[1] & ~1
        self._rate, self._notify = frames_per_second, notify
        self._duration = max(1, round(TICKS_PER_S / frames_per_second))
        self._last_key: int | None = None
        self._format: VideoFormat | None = None
        self._context = self._first_that_opens()

    @property
    def name(self) -> str:
        """FFmpeg's name of the encoder in use."""
        return self._names[0]

    @property
    def format(self) -> VideoFormat | None:
        """The format of the last packets; another object after another encoder took over; None before the first."""
        return self._format

    def encode(self, image: NDArray[np.uint8], time: int) -> list[VideoPacket]:
        """Encode a picture: no, one or several packets.

        Args:
            image: (H, W, 3) uint8 BGR of the encoder's size.
            time: in ticks, greater than the last one's.

        Raises:
            RkdeployError: when the last encoder failed.
        """
        while True:
            key = self._last_key is None or time - self._last_key >= _KEY_EVERY_S * TICKS_PER_S
            try:
                packets = self._packets(self._context.encode(self._picture(image, time, key=key)))
            except _errors() as error:
                self._resume_with_next(error)
                continue
            if key:
                self._last_key = time
            return packets

    def flush(self) -> list[VideoPacket]:
        """The packets that the encoder still holds; it takes no more pictures."""
        try:
            return self._packets(self._context.encode(None))
        except _errors():
            return []  # only what a failing encoder held is missing

    def _picture(self, image: NDArray[np.uint8], time: int, *, key: bool) -> Any:
        av = import_module("av")
        inside = image[: self._height, : self._width]
        # By OpenCV: its conversion takes a sixth of the time of FFmpeg's.
        picture = av.VideoFrame.from_ndarray(cv2.cvtColor(inside, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
        picture.pts, picture.time_base = time, Fraction(1, TICKS_PER_S)
        if key:
            picture.pict_type = _KEY_PICTURE
        return picture

    def _packets(self, encoded: Sequence[Any]) -> list[VideoPacket]:
        packets = [
            VideoPacket(bytes(one), one.pts, self._duration, bool(one.is_keyframe)) for one in encoded if one.size
        ]
        first_key = next((one for one in packets if one.key), None)
        if self._format is None and first_key is not None:
            head = bytes(self._context.extradata or b"") + first_key.data
            self._format = VideoFormat(self._width, self._height, self._rate, head)
        return packets if self._format is not None else []

    def _resume_with_next(self, error: Exception) -> None:
        failed = self._names.pop(0)
        if not self._names:
            raise RkdeployError(f"The video encoder {failed} failed: {error}.", "Save images or JSON lines instead.")
        self._context = self._first_that_opens()
        self._last_key = self._format = None
        self._notify(f"The video encoder {failed} failed ({error}); {self.name} resumes in software.")

    def _first_that_opens(self) -> Any:
        reason = ""
        while self._names:
            context, reason = self._opened_or_reason(self._names[0])
            if context is not None:
                return context
            self._names.pop(0)
        raise RkdeployError(
            f"Video of {self._width}x{self._height} at {self._rate:g} frames per second cannot be encoded ({reason}).",
            "Save images or JSON lines instead.",
        )

    def _opened_or_reason(self, name: str) -> tuple[Any, str]:
        try:
            return _opened(name, self._width, self._height, self._rate), ""
        except _errors() as error:
            return None, f"{name}: {error}"


def _opened(name: str, width: int, height: int, rate: float) -> Any:
    """An open encoder without B frames or delay, that takes pictures of any time stamps."""
    context = import_module("av").CodecContext.create(name, "w")
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, TICKS_PER_S)
    context.framerate = Fraction(rate).limit_denominator(1001)
    context.gop_size = max(1, round(10 * _KEY_EVERY_S * rate))  # key pictures are asked for by time
    context.colorspace = context.color_primaries = context.color_trc = _SMPTE170M
    context.color_range = _LIMITED_RANGE
    bits = round(_BITS_PER_PIXEL * width * height * rate)
    if name == "libx264":
        context.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
        limits = {"crf": "23", "maxrate": str(4 * bits), "bufsize": str(4 * bits)}
        context.options = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1", **limits}
    else:
        context.bit_rate = bits
        context.options = {}
    context.options = {**context.options, "flags": "+global_header"}
    context.open(strict=False)
    return context


def _errors() -> tuple[type[Exception], ...]:
    return (import_module("av").error.FFmpegError, OSError, ValueError)
