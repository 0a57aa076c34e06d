"""The newest frame as a JPEG: encoded when a viewer waits, at a limited rate, once for all viewers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.drawing import draw_detections, scale_detections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from rkdeploy.device.web.frame_buffer import FrameBuffer, NewestFrame

_LOOK_EVERY_S = 0.015
_GIVE_UP_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """One encoded frame and its number in the buffer."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class JpegOptions:
    """Options of the encoding.

    Attributes:
        max_per_second: largest number of pictures per second.
        max_side_px: larger frames are scaled down to this.
        quality: of the JPEG, 0 to 100.
    """

    max_per_second: float = 15.0
    max_side_px: int = 1280
    quality: int = 75


class SharedJpeg:
    """The same encoded frame for all viewers; used in one event loop.

    Args:
        frame_buffer: frames from the pipeline.
        class_names: of the contract.
        options: see `JpegOptions`.
        executor: runs the encoding.

    Attributes:
        encoded: number of frames encoded.
    """

    def __init__(
        self, frame_buffer: FrameBuffer, class_names: Sequence[str], options: JpegOptions, executor: Executor
    ) -> None:
        self._frame_buffer = frame_buffer
        self._class_names = tuple(class_names)
        self._options = options
        self._executor = executor
        self._newest: Jpeg | None = None
        self._making: asyncio.Task[None] | None = None
        self._not_before_s = 0.0
        self._closed = False
        self.encoded = 0

    def close(self) -> None:
        """Release all waiting viewers."""
        self._closed = True

    async def after(self, number: int) -> Jpeg | None:
        """The newest frame with a higher number, as soon as there is one; None after `close`."""
        while not self._closed:
            if self._newest is not None and self._newest.number > number:
                return self._newest
            if self._making is None or self._making.done():
                self._making = asyncio.get_running_loop().create_task(self._make())
            # shielded: a viewer that leaves must not cancel the frame of the others
            await asyncio.shield(self._making)
        return None

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + _GIVE_UP_S
        shown = self._newest.number if self._newest else 0
        while loop.time() < self._not_before_s or self._frame_buffer.number() <= shown:
            if self._closed or loop.time() > give_up_s:
                return  # viewers that still wait ask again
            await asyncio.sleep(_LOOK_EVERY_S)
        newest = self._frame_buffer.newest()
        assert newest is not None
        self._not_before_s = loop.time() + 1 / self._options.max_per_second - _LOOK_EVERY_S / 2
        data = await loop.run_in_executor(self._executor, encode, newest, self._class_names, self._options)
        self.encoded += 1
        self._newest = Jpeg(newest.number, data)


def encode(newest: NewestFrame, class_names: Sequence[str], options: JpegOptions) -> bytes:
    """Draw and encode one frame, scaled down first if it is large."""
    image, found = newest.frame.image, newest.detections
    height, width = image.shape[:2]
    scale = options.max_side_px / max(height, width)
    if scale < 1:
        small_wh = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, small_wh), np.uint8)
        found = scale_detections(found, (height, width), (small_wh[1], small_wh[0]))
    drawn = draw_detections(image, found, class_names)
    ok, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    assert ok, "OpenCV's JPEG encoder takes every uint8 image"
    return data.tobytes()
