"""Many images of one size in one `.npy` file, which is mapped into memory instead of read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def mapped_pixels(file: Path, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A new file of (N, H, W, 3) uint8 zeros, to be written through what is returned."""
    if shape[0] == 0:  # nothing can be mapped
        np.save(file, np.zeros(shape, np.uint8))
        return np.zeros(shape, np.uint8)
    mapped: NDArray[np.uint8] = np.lib.format.open_memmap(file, "w+", np.uint8, shape)  # type: ignore[no-untyped-call]  # numpy's stubs leave it out
    return mapped


def read_pixels(file: Path) -> NDArray[np.uint8]:
    """The images of such a file; pages are read when they are looked at."""
    empty = np.load(file, allow_pickle=False) if file.stat().st_size < 1 << 12 else None
    found: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False) if empty is None else empty
    return found
