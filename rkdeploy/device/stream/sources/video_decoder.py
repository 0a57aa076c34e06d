"""Packets of a video stream to pictures with PyAV: by a board's decoder while it works, else in software."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rkdeploy.device.stream.sources.decoded_picture import DecodedPicture
from rkdeploy.images.header import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rkdeploy.device.stream.sources.hardware_decoder import HardwareDecoder
    from rkdeploy.device.stream.sources.rga_fit import RgaFit

_MAX_PACKETS, _MAX_PACKET_BYTES = 1200, 32 << 20


@dataclass(frozen=True, slots=True)
class TimedPicture:
    """One decoded picture and its time.

    Attributes:
        picture: as it was decoded.
        time_ms: since the stream's start, by the time stamp; None without one.
    """

    picture: DecodedPicture
    time_ms: float | None


class RecentPackets:
    """The packets since the last key frame but one: what another decoder needs to go on without a gap.

    Nothing is kept of streams whose key frames are too far apart for it (1200 packets, 32 MB).
    """

    def __init__(self) -> None:
        self._older: list[Any] = []
        self._newer: list[Any] = []

    def add(self, packet: Any) -> None:
        """Keep a packet, and release those older than needed."""
        if packet.is_keyframe:
            self._older, self._newer = self._newer, []
        self._newer.append(packet)
        kept = [*self._older, *self._newer]
        if len(kept) > _MAX_PACKETS or sum(one.size for one in kept) > _MAX_PACKET_BYTES:
            self._older, self._newer = [], []

    def take(self) -> list[Any]:
        """The packets from the first key frame on; afterward there are none."""
        kept = [*self._older, *self._newer]
        self._older, self._newer = [], []
        first = next((i for i, one in enumerate(kept) if one.is_keyframe), len(kept))
        return kept[first:]


class VideoDecoder:
    """Decodes a stream's packets, in hardware until that fails, then in software from the last key frames on.

    Pictures that were shown before the failure are recognized by their time stamps; a stream without any shows those
    since the last key frames again.

    Args:
        start: time stamp at which the stream starts.
        software: an open codec context.
        hardware: the board's, to be used while it works.
        notify: called with one sentence when the hardware fails.
        rga: makes the network's input from the hardware's pictures; None without.
    """

    def __init__(
        self,
        start: int,
        software: Any,
        hardware: HardwareDecoder,
        notify: Callable[[str], None],
        rga: RgaFit | None = None,
    ) -> None:
        self._start = start
        self._software, self._hardware, self._notify = software, hardware.context, notify
        self._refusal = hardware.refusal
        self._rga = rga
        self._errors = (import_module("av").error.FFmpegError, OSError, ValueError)
        self._recent = RecentPackets()
        self._shown: int | None = None  # time stamp of the last picture that the hardware gave

    @property
    def name(self) -> str:
        """The decoder in use, for users: "h264_rkmpp", or "h264 in software" with the hardware's refusal."""
        if self._hardware is not None:
            return f"{self._hardware.name}{'' if self._rga is None else ' and RGA'}"
        return f"{self._software.name} in software{f' ({self._refusal})' if self._refusal else ''}"

    def pictures(self, packet: Any) -> Iterator[TimedPicture]:
        """Decode a packet: none, one or several pictures; damaged ones are left out."""
        if self._hardware is None:
            yield from self._in_software(packet)
            return
        self._recent.add(packet)
        try:
            for frame in self._hardware.decode(packet):
                picture = self._picture(frame)
                self._shown = frame.pts
                yield picture
        except self._errors as error:
            name, self._hardware = self._hardware.name, None
            self._notify(f"The decoder {name} failed ({error}); decoding goes on in software.")
            for one in self._recent.take():
                yield from self._in_software(one)

    def _in_software(self, packet: Any) -> Iterator[TimedPicture]:
        try:
            frames = self._software.decode(packet)
        except self._errors:
            return
        for frame in frames:
            if self._shown is None or frame.pts is None or frame.pts > self._shown:
                yield self._picture(frame)

    def _picture(self, frame: Any) -> TimedPicture:
        quarters = round(frame.rotation / 90) % 4  # counterclockwise
        time_ms = None if frame.pts is None else float((frame.pts - self._start) * frame.time_base * 1000)
        return TimedPicture(DecodedPicture(frame, quarters, self._rga), time_ms)


def opened_context(stream: Any) -> Any:
    """The software decoder of a stream, open; None when FFmpeg has none for it."""
    context = stream.codec_context
    if context is None:
        return None
    try:
        context.thread_type = "AUTO"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.open(strict=False)
    except (import_module("av").error.FFmpegError, OSError, ValueError):
        return None
    return context
