"""Candidates for overlap: which pairs of boxes can overlap at all, found along x, class by class."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_CLASS_OFFSET_PX: Final = np.float32(7680.0)


def class_offsets(class_ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Offsets of the coordinates so that boxes of different classes never overlap: class * 7680 px.

    Args:
        class_ids: (N,) int32.

    Returns:
        (N,) float32.
    """
    return np.multiply(class_ids, _CLASS_OFFSET_PX, dtype=np.float32)


def pairs_in_runs(run_lengths: NDArray[np.intp], first_place: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All pairs of a box and one of the boxes that follow it in its run.

    In the order of their left edges, the partners of a box along x are the run of boxes that begin before it ends.

    Args:
        run_lengths: (N,) number of following boxes in the run of each box.
        first_place: place of the first of these boxes.

    Returns:
        Places of the boxes and of their partners, each (sum of the run lengths,).
    """
    place = np.arange(first_place, first_place + len(run_lengths))
    first = place.repeat(run_lengths)
    second = np.arange(1, len(first) + 1) + (place - run_lengths.cumsum() + run_lengths).repeat(run_lengths)
    return first, second
