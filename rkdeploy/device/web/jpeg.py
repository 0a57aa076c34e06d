"""A picture as a JPEG: encoded when a viewer waits, at a limited rate, once for all viewers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

LOOK_EVERY_S = 0.015
_GIVE_UP_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """One encoded picture.

    Attributes:
        number: number in the buffer of the frame that it shows, or of the newest one in it.
        data: the JPEG.
        facts: JSON about that frame, for the page; empty for a picture of several.
    """

    number: int
    data: bytes
    facts: bytes = b""


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
    """The same encoded picture for all viewers; used in one event loop.

    Args:
        number: number of the newest frame that there is; 0 before the first one.
        encode: makes the picture of it; runs in the executor.
        max_per_second: limit of its rate.
        executor: runs the encoding.

    Attributes:
        newest: the last one.
        encoded: number of pictures encoded.
    """

    def __init__(
        self, number: Callable[[], int], encode: Callable[[], Jpeg], max_per_second: float, executor: Executor
    ) -> None:
        self._number, self._encode = number, encode
        self._pause_s = 1 / max_per_second - LOOK_EVERY_S / 2
        self._executor = executor
        self._making: asyncio.Task[None] | None = None
        self._not_before_s = 0.0
        self._closed = False
        self.newest: Jpeg | None = None
        self.encoded = 0

    def close(self) -> None:
        """Release all waiting viewers."""
        self._closed = True

    def has_after(self, number: int) -> bool:
        """True if `after` has a picture at once, or as soon as it is encoded."""
        if self.newest is not None and self.newest.number > number:
            return True
        return self._number() > number and asyncio.get_running_loop().time() >= self._not_before_s

    async def after(self, number: int) -> Jpeg | None:
        """The newest picture with a higher number, as soon as there is one; None after `close`."""
        while not self._closed:
            if self.newest is not None and self.newest.number > number:
                return self.newest
            if self._making is None or self._making.done():
                self._making = asyncio.get_running_loop().create_task(self._make())
            # shielded: a viewer that leaves must not cancel the picture of the others
            await asyncio.shield(self._making)
        return None

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + _GIVE_UP_S
        shown = self.newest.number if self.newest else 0
        while loop.time() < self._not_before_s or self._number() <= shown:
            if self._closed or loop.time() > give_up_s:
                return  # viewers that still wait ask again
            await asyncio.sleep(LOOK_EVERY_S)
        self._not_before_s = loop.time() + self._pause_s
        made = await loop.run_in_executor(self._executor, self._encode)
        self.encoded += 1
        self.newest = made


def jpeg_of(image: NDArray[np.uint8], quality: int) -> bytes:
    """An image, (H, W, 3) uint8 BGR, as a JPEG."""
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok, "OpenCV's JPEG encoder takes every uint8 image"
    return data.tobytes()
