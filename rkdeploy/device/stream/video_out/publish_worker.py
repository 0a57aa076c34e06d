"""The process that sends packets to a server.

FFmpeg connects and writes a header under Python's lock: a server that accepts and never answers would hold every thread
of the run.  Here it holds a process that nothing else waits for, which is ended when it does not answer in time.
"""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rkdeploy.device.stream.video_out.fragmented_mp4 import PacketMuxer
from rkdeploy.device.stream.video_out.video_packet import VideoFormat, VideoPacket

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a format or packet.

    Attributes:
        error: empty where it was sent.
        permanent: whether trying again is of no use.
    """

    error: str = ""
    permanent: bool = False


def send_packets(pipe: Connection[Any, Any], url: str, format_name: str, options: dict[str, str]) -> None:
    """Connect with the first message, a `VideoFormat`, and send the `VideoPacket`s after it; each gets a `Sent`.

    Ends after the first error, or when the pipe is closed.

    Args:
        pipe: to the process that encodes.
        url: of the server.
        format_name: FFmpeg's name of the container.
        options: of FFmpeg.
    """
    with suppress(OSError, AttributeError):  # a run that is killed takes this process along
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    av = import_module("av")
    container: Any = None
    try:
        video = _received(pipe)
        if not isinstance(video, VideoFormat):
            return
        container = av.open(url, "w", format=format_name, container_options=options)
        muxer = PacketMuxer(container, video)
        container.start_encoding()
        _answer(pipe, Sent())
        _send_each(pipe, muxer)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        permanent = isinstance(error, av.error.ProtocolNotFoundError | av.error.MuxerNotFoundError)
        _answer(pipe, Sent(getattr(error, "strerror", None) or str(error) or type(error).__name__, permanent))
    finally:
        if container is not None:
            with suppress(av.error.FFmpegError, OSError, ValueError):
                container.close()


def _send_each(pipe: Connection[Any, Any], muxer: PacketMuxer) -> None:
    start: int | None = None
    while isinstance(packet := _received(pipe), VideoPacket):
        start = packet.time if start is None else start
        muxer.write(packet, start)
        _answer(pipe, Sent())


def _received(pipe: Connection[Any, Any]) -> Any:
    """The next message; None when the other end has closed the pipe."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _answer(pipe: Connection[Any, Any], answer: Sent) -> None:
    with suppress(OSError):  # nothing waits for it any more
        pipe.send(answer)
