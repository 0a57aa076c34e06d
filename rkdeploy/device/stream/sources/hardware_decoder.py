"""Decoders of a board's video hardware, and the reason where one cannot be opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DECODERS: Final = {
    **{name: f"{name}_rkmpp" for name in ("av1", "h263", "h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9")},
    "libdav1d": "av1_rkmpp",
    "mpeg1video": "mpeg1_rkmpp",
    "mpeg2video": "mpeg2_rkmpp",
}
"""Software decoder -> decoder of Rockchip's hardware, as `pyav-rkmpp` 18.1.0.post2 has them; `av` has none."""
VIDEO_NODE: Final = "/dev/mpp_service"


@dataclass(frozen=True, slots=True)
class HardwareDecoder:
    """Result of opening a decoder.

    Attributes:
        context: open; None when there is none.
        refusal: reason why the package's decoder cannot be opened; empty when it can, or when there is none.
    """

    context: Any | None = None
    refusal: str = ""


def hardware_decoder(stream: Any) -> HardwareDecoder:
    """Open the decoder of Rockchip's hardware for a stream.

    It gives NV12 in memory: without a device context FFmpeg takes a decoder's last pixel format, its software one.

    Args:
        stream: PyAV's video stream.
    """
    av = import_module("av")
    name = DECODERS.get(stream.codec_context.name)
    if name is None or name not in av.codecs_available:
        return HardwareDecoder()
    return opened_decoder(name, stream.codec_context)


def opened_decoder(name: str, like: Any | None = None) -> HardwareDecoder:
    """Open a decoder by its name.

    Args:
        name: one that the package has.
        like: PyAV's context with the stream's extra data and size; None to find out whether it can be opened at all.
    """
    context = import_module("av").CodecContext.create(name, "r")
    if like is not None:
        context.extradata = like.extradata
        context.width, context.height = like.width, like.height
    reason = failure_of(lambda: context.open(strict=False))
    if reason is None:
        return HardwareDecoder(context)
    why = "; ".join(filter(None, (reason, node_problem(VIDEO_NODE))))
    return HardwareDecoder(refusal=f"{name} cannot be opened: {why}")


def failure_of(action: Callable[[], object]) -> str | None:
    """Run an action on FFmpeg; None when it succeeds, else what FFmpeg says of its failure."""
    av = import_module("av")
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as lines:
            action()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = "; ".join(dict.fromkeys(text.strip() for _, _, text in lines if text.strip()))
        return said or str(getattr(error, "strerror", None) or error)
    finally:
        av.logging.set_level(before)
    return None


def node_problem(node: str) -> str:
    """The node and the reason why this process cannot use it; empty when it can."""
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{node}: {error.strerror}"
    return ""
