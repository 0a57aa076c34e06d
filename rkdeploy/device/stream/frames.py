"""One picture on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and where it comes from.

    Attributes:
        image: (H, W, 3) uint8 BGR, in memory of its own.
        source: the image file's path, or what the video or camera was opened as.
        index: running number within the opened source, from 0: the frame of a video, the position in a folder.
        timestamp_ms: time since the start of the source in milliseconds, None where there is no such thing.
        origin: position of its source among those of the run, from 0.
    """

    image: NDArray[np.uint8]
    source: str
    index: int
    timestamp_ms: float | None = None
    origin: int = 0
