"""A frame and its origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image and its origin.

    Attributes:
        image: (H, W, 3) uint8 BGR, in memory of its own.
        source: the image file's path, or the text that the video or camera was opened with.
        index: running number within the opened source, from 0: the frame of a video, the position in a folder.
        timestamp_ms: milliseconds since the start of the source; None for images.
        origin: position of its source among those of the run, from 0.
    """

    image: NDArray[np.uint8]
    source: str
    index: int
    timestamp_ms: float | None = None
    origin: int = 0
