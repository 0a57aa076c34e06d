"""A picture as a video decoder left it, converted to BGR when that is asked for."""

from __future__ import annotations

import threading
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rkdeploy.device.stream.sources.yuv_planes import samples_exactly, write_sampled
from rkdeploy.errors import SourceError
from rkdeploy.images.fit import Letterbox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rkdeploy.device.stream.sources.rga_fit import RgaFit
    from rkdeploy.images.fit import ImageFit, Letterboxed

_PLANAR_FIRST: Final = {"nv12": "yuv420p"}
"""FFmpeg converts these to BGR in one step with filtered chroma, slower than in two steps with the nearest."""


class DecodedPicture:
    """One picture of PyAV's, with its rotation.

    Args:
        frame: PyAV's video frame in memory; kept until it is converted.
        quarters: quarter turns counterclockwise that make it upright, 0 to 3.
        rga: makes the network's input where the planes alone cannot; None without.
    """

    def __init__(self, frame: Any, quarters: int, rga: RgaFit | None = None) -> None:
        self._frame = frame
        self._quarters = quarters
        self._rga = rga
        self._converting = threading.Lock()
        self._bgr: NDArray[np.uint8] | None = None
        height, width = int(frame.height), int(frame.width)
        self._size_hw = (width, height) if quarters % 2 else (height, width)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        return self._size_hw

    def bgr(self) -> NDArray[np.uint8]:
        """The whole picture, (H, W, 3) uint8 BGR, upright.  Converted once; from any thread."""
        with self._converting:
            if self._bgr is None:
                self._bgr = _upright(bgr_of(self._frame), self._quarters)
            return self._bgr

    def fitted(self, fit: ImageFit) -> Letterboxed:
        """The network's input: from the planes where these say it exactly, else by RGA, else from BGR.

        See `FramePicture`; RGA's pixels are its own.
        """
        if self._quarters or not isinstance(fit, Letterbox):
            return fit(self.bgr())
        if samples_exactly(self._frame, fit.resized_hw(self._size_hw)):
            return fit.fill(self._size_hw, partial(write_sampled, self._frame, fit.color))
        by_rga = None if self._rga is None else self._rga.fitted(self._frame, fit, self.bgr)
        return fit(self.bgr()) if by_rga is None else by_rga


def bgr_of(frame: Any) -> NDArray[np.uint8]:
    """Convert PyAV's frame to BGR, (H, W, 3) uint8, by FFmpeg.

    Raises:
        SourceError: when FFmpeg cannot convert it.
    """
    planar = _PLANAR_FIRST.get(frame.format.name)
    try:
        source = frame if planar is None else frame.reformat(format=planar)
        return np.asarray(source.to_ndarray(format="bgr24"), np.uint8)
    except (import_module("av").error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(
            f"A picture in the pixel format {frame.format.name} cannot be converted to BGR: {error}.",
            "Re-encode the video to 8-bit 4:2:0.",
        ) from error


def _upright(image: NDArray[np.uint8], quarters: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters else image
