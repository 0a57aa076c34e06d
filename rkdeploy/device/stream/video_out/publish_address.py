"""Addresses that video is sent to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkdeploy.device.stream.sources.stream_address import redacted
from rkdeploy.errors import RkdeployError

STREAM_PLACE: Final = "{stream}"
_MPEG_TS: Final = ("mpegts", {"flush_packets": "1"})
_CONTAINERS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "rtmp": ("flv", {"flvflags": "no_duration_filesize"}),
    "rtmps": ("flv", {"flvflags": "no_duration_filesize"}),
    "rtsp": ("rtsp", {"rtsp_transport": "tcp"}),
    "rtsps": ("rtsp", {"rtsp_transport": "tcp"}),
    "srt": _MPEG_TS,
    "tcp": _MPEG_TS,
    "udp": _MPEG_TS,
}


@dataclass(frozen=True, slots=True)
class PublishAddress:
    """A server's address, and the form in which it takes video.

    Attributes:
        url: with its password.
        text: for messages, without it.
        format_name: FFmpeg's name of the container.
        options: of FFmpeg.
    """

    url: str
    text: str
    format_name: str
    options: dict[str, str]


def is_publish_address(text: str) -> bool:
    """Tell whether a text is an address that video can be sent to, not a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.strip().lower() in _CONTAINERS


def publish_address(text: str, stream: str) -> PublishAddress:
    """The address of one stream.

    Args:
        text: as the user gives it; `{stream}` stands for the stream's name.
        stream: that name, without what an address cannot hold.

    Raises:
        RkdeployError: when video is not sent in this way.
    """
    url = text.strip().replace(STREAM_PLACE, stream)
    scheme = url.partition("://")[0].lower()
    if not is_publish_address(url):
        raise RkdeployError(
            f'"{redacted(text)}" is not an address that video is sent to, expected one of '
            f"{', '.join(f'{one}://' for one in _CONTAINERS)}."
        )
    format_name, options = _CONTAINERS[scheme]
    if scheme == "udp" and "?" not in url:
        url += "?pkt_size=1316"  # seven packets of MPEG-TS, which a network passes in one piece
    return PublishAddress(url, redacted(url), format_name, options)
