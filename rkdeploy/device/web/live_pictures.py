"""The pictures that viewers get: each stream small and large, and all streams in one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from rkdeploy.device.drawing.mosaic import MosaicCell, mosaic, mosaic_layout
from rkdeploy.device.drawing.scaled import draw_scaled
from rkdeploy.device.web.jpeg import LOOK_EVERY_S, Jpeg, SharedJpeg, jpeg_of
from rkdeploy.device.web.objects import PlaceCount, objects_of, places_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.device.web.frame_buffer import FrameBuffer, NewestFrame
    from rkdeploy.device.web.jpeg import JpegOptions

_SMALL_SIDE_PX: Final = 640
_MAX_PER_SECOND: Final = 60.0
"""Pictures of all streams together: 4 streams get 15 a second each, 16 get 3.75."""


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """A frame as the page's texts show it, next to its picture.

    Attributes:
        stream: position of its stream.
        frame: index in its source.
        captured: time in UTC at which it was read, ISO 8601.
        processed: frames of this stream that the view was given, with this one.
        processed_of_all: frames of all streams.
        width, height: of the frame in pixels.
        objects: text and number of equal ones, the most frequent first; a number of 0 stands for a text without one.
        places: counts of lines and zones.
    """

    stream: int
    frame: int
    captured: str
    processed: int
    processed_of_all: int
    width: int
    height: int
    objects: tuple[tuple[str, int], ...]
    places: tuple[PlaceCount, ...]


class LivePictures:
    """Encoded pictures of a buffer's streams; used in one event loop.

    Memory: the newest small and large picture of each stream, and one of all.

    Args:
        frame_buffer: frames from the pipeline.
        names: of the streams.
        class_names: of the contract.
        options: of the encoding.
        executor: runs it.
    """

    def __init__(
        self,
        frame_buffer: FrameBuffer,
        names: Sequence[str],
        class_names: Sequence[str],
        options: JpegOptions,
        executor: Executor,
    ) -> None:
        self._frame_buffer = frame_buffer
        self._names, self._class_names = tuple(names), tuple(class_names)
        self._options = options
        self._closed = False
        streams = range(len(self._names))
        self.large = tuple(self._shared(one, options.max_side_px, options.max_per_second, executor) for one in streams)
        if len(self._names) == 1:
            self.small, self.all = self.large, self.large[0]
            return
        per_second = min(options.max_per_second, _MAX_PER_SECOND / len(self._names))
        side_px = min(options.max_side_px, _SMALL_SIDE_PX)
        self.small = tuple(self._shared(one, side_px, per_second, executor) for one in streams)
        self.all = SharedJpeg(frame_buffer.number, self._encode_all, options.max_per_second, executor)

    @property
    def encoded(self) -> int:
        """Number of pictures encoded."""
        return sum(one.encoded for one in {*self.small, *self.large, self.all})

    def close(self) -> None:
        """Release all waiting viewers."""
        self._closed = True
        for one in (*self.small, *self.large, self.all):
            one.close()

    async def in_turn(self, pictures: Sequence[SharedJpeg]) -> AsyncIterator[Jpeg]:
        """The newest pictures of several streams, each when the one before was taken; streams take turns."""
        seen = [0] * len(pictures)
        turn = 0
        while not self._closed:
            order = [(turn + step) % len(pictures) for step in range(len(pictures))]
            turn = next((one for one in order if pictures[one].has_after(seen[one])), -1)
            if turn < 0:
                turn = order[0]
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            picture = await pictures[turn].after(seen[turn])
            if picture is None:
                return
            seen[turn] = picture.number
            turn += 1
            yield picture

    def _shared(self, stream: int, side_px: int, per_second: float, executor: Executor) -> SharedJpeg:
        number = partial(self._frame_buffer.number, stream)
        return SharedJpeg(number, partial(self._encode, stream, side_px), per_second, executor)

    def _encode(self, stream: int, side_px: int) -> Jpeg:
        newest = self._frame_buffer.newest(stream)
        assert newest is not None, "a picture is only encoded when its stream has a frame"
        data = jpeg_of(self._drawn(newest, side_px), self._options.quality)
        return Jpeg(newest.number, data, msgspec.json.encode(self._facts(newest)))

    def _drawn(self, newest: NewestFrame, side_px: int) -> NDArray[np.uint8]:
        return draw_scaled(newest.frame.image, newest.detections, self._class_names, side_px)

    def _facts(self, newest: NewestFrame) -> FrameFacts:
        height, width = newest.frame.size_hw
        return FrameFacts(
            stream=newest.stream,
            frame=newest.frame.index,
            captured=newest.frame.captured.iso,
            processed=newest.place,
            processed_of_all=newest.number,
            width=width,
            height=height,
            objects=objects_of(newest.detections, self._class_names),
            places=places_of(newest.detections),
        )

    def _encode_all(self) -> Jpeg:
        found = [self._frame_buffer.newest(stream) for stream in range(len(self._names))]
        side_px = mosaic_layout(len(found), self._options.max_side_px).cell_wh[0]
        drawn = [None if one is None else self._drawn(one, side_px) for one in found]
        cells = [MosaicCell(name, image) for name, image in zip(self._names, drawn, strict=True)]
        whole = mosaic(cells, self._options.max_side_px)
        return Jpeg(max(one.number for one in found if one is not None), jpeg_of(whole, self._options.quality))
