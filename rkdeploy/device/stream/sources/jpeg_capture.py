"""Motion JPEG of a camera, decoded by PyAV: OpenCV brings the compressed pictures, which stay YUV until needed.

OpenCV would decode each to BGR, on the CPU; a board has a decoder for it.  OpenCV still talks to the device: its
formats, its buffers, and the limit of the camera's silence.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from rkdeploy.device.stream.sources.hardware_decoder import HardwareDecoder, opened_decoder
from rkdeploy.device.stream.sources.video_decoder import VideoDecoder
from rkdeploy.images.header import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable

_HARDWARE: Final = "mjpeg_rkmpp"
_MAX_DAMAGED: Final = 30  # in a row: a camera's first pictures are often cut off


def open_jpeg_capture(
    capture: cv2.VideoCapture, notify: Callable[[str], None], *, hardware: bool
) -> JpegCapture | None:
    """Let PyAV decode the pictures of an open camera; None where OpenCV does not hand them over.

    Args:
        capture: set to motion JPEG.
        notify: called with one sentence when decoding leaves the hardware.
        hardware: try the decoder of a board's hardware first.
    """
    if not capture.set(cv2.CAP_PROP_CONVERT_RGB, 0):
        return None
    av = import_module("av")
    software = av.CodecContext.create("mjpeg", "r")
    software.thread_type = "SLICE"  # threads over frames would delay each picture by some
    software.options = {"max_pixels": str(MAX_PIXELS)}
    offered = hardware and _HARDWARE in av.codecs_available
    return JpegCapture(
        capture, VideoDecoder(0, software, opened_decoder(_HARDWARE) if offered else HardwareDecoder(), notify)
    )


class JpegCapture:
    """A camera whose pictures are decoded here.

    Args:
        capture: gives a compressed picture per read, one row of bytes.
        decoder: of motion JPEG.
    """

    def __init__(self, capture: cv2.VideoCapture, decoder: VideoDecoder) -> None:
        self._capture, self._decoder = capture, decoder
        self._new_packet = import_module("av").Packet

    @property
    def decoder(self) -> str:
        """The decoder in use, for users: "mjpeg_rkmpp" or "mjpeg in software"."""
        return self._decoder.name

    def get(self, propId: int, /) -> float:  # noqa: N803 - OpenCV's name
        """A property by OpenCV's number."""
        return self._capture.get(propId)

    def read(self) -> tuple[bool, Any]:
        """Read the next frame: (True, picture as it was decoded), or (False, None) at a loss.

        Damaged pictures are passed over.  What is not compressed after all is returned as it is.
        """
        for _ in range(_MAX_DAMAGED):
            got, data = self._capture.read()
            if not got or data is None or data.ndim == 3:
                return got, data
            if data.size == 0:  # an empty packet would end the decoder
                continue
            packet = self._new_packet(np.ascontiguousarray(data).tobytes())
            packet.is_keyframe = True
            decoded = list(self._decoder.pictures(packet))
            if decoded:
                return True, decoded[-1].picture
        return False, None

    def release(self) -> None:
        """Close the camera."""
        self._capture.release()
