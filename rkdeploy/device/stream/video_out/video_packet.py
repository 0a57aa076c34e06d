"""Encoded pictures, as encoders give and receivers take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame

TICKS_PER_S: Final = 90_000
"""Unit of time stamps, as in MPEG and RTP."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The format of the packets that follow.

    Attributes:
        width, height: in pixels, even.
        frames_per_second: nominal; the time stamps of the packets count.
        head: H.264 in Annex B: the parameter sets, then one key picture.
    """

    width: int
    height: int
    frames_per_second: float
    head: bytes


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """One encoded picture; pictures are in the order of their time.

    Attributes:
        data: H.264 in Annex B.
        time: in ticks of 1/90000 s since the first picture; grows from packet to packet.
        duration: nominal, in ticks.
        key: whether decoding can begin here.
    """

    data: bytes
    time: int
    duration: int
    key: bool


class PacketReceiver(Protocol):
    """Destination of packets; but for `open`, called from one thread."""

    def open(self) -> None:
        """Check what can be checked before the first packet.

        Raises:
            RkdeployError: when nothing can be written.
        """
        ...

    def begin(self, video: VideoFormat) -> None:
        """Take packets of this format from now on; called before the first packet, and where the format changes."""
        ...

    def take(self, packet: VideoPacket) -> None:
        """Write or send one packet.

        Raises:
            RkdeployError: when that ends the run.
        """
        ...

    def end(self, *, whole: bool) -> None:
        """End: `whole` is False where the run failed.

        Raises:
            RkdeployError: when the end cannot be written.
        """
        ...


class PictureObserver(Protocol):
    """Looks at each picture after it was given to the encoder; called from the thread that calls the receivers."""

    def see(self, frame: Frame, detections: Detections, drawn: NDArray[np.uint8], ticks: int) -> None:
        """Look at a picture.

        Args:
            frame: the frame.
            detections: of it.
            drawn: (H, W, 3) uint8 BGR, the picture with its detections.
            ticks: time of its packet.

        Raises:
            RkdeployError: when that ends the run.
        """
        ...
