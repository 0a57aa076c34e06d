"""What a detector found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one image, sorted by score, highest first.

    Further results of other tasks become optional typed fields with N rows each, None where a task has none.

    Attributes:
        xyxy: (N, 4) float32, x1, y1, x2, y2 in pixels of the source image, clipped to it.
        scores: (N,) float32, 0..1.
        class_ids: (N,) int32, index into the contract's class names.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    @classmethod
    def empty(cls) -> Detections:
        """No objects: arrays of shape (0, 4), (0,) and (0,)."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.scores)
