"""Frames that a program makes itself: any iterable of images."""

from __future__ import annotations

import time
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from rkdeploy.device.stream.frames import Frame
from rkdeploy.images.array import bgr_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from numpy.typing import NDArray


class Arrays:
    """Images of an iterable, each one frame.  None is dropped; the next one is asked for when there is room.

    Args:
        images: (H, W, 3) uint8 BGR each; taken from one thread, which need not be the caller's.
        text: name of the source in results.
    """

    def __init__(self, images: Iterable[NDArray[Any]], text: str = "arrays") -> None:
        self.text = text
        self.frame_count: int | None = len(images) if isinstance(images, Sized) else None
        self.frames_per_second: float | None = None
        self.live = False
        self.reconnects = 0
        self._images = images

    def __enter__(self) -> Iterator[Frame]:
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The iterable is its owner's to close."""

    def stop(self) -> None:
        """No effect: an iterable cannot be interrupted."""

    def _frames(self) -> Iterator[Frame]:
        started = time.monotonic()
        for index, image in enumerate(self._images):
            # A copy: the program may reuse its buffer while the frame is still under way.
            yield Frame(bgr_image(image).copy(), self.text, index, (time.monotonic() - started) * 1e3)
