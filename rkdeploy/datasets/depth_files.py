"""Files of depth: `.npy` arrays in meters, and 16-bit PNG files in millimeters, as depth cameras and ultralytics write.

Pixels without a depth are 0 or NaN.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.datasets.truth import DataError
from rkdeploy.errors import SourceError
from rkdeploy.images.file import opencv_log_silenced, read_image_bytes

DEPTH_FOLDER: Final = "depth"
"""Folder next to `images`."""
DEPTH_SUFFIXES: Final = (".png", ".npy")
MILLIMETERS: Final = 1000.0
"""Steps of a PNG file per meter."""
_MAX_BYTES: Final = 512 << 20


def depth_file(candidates: Sequence[Path]) -> Path | None:
    """The first of some paths that is a file; None without one."""
    return next((path for path in candidates if path.is_file()), None)


def read_depth(file: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The depth of every pixel in meters, (H, W) float32.

    Args:
        file: `.npy` of floats in meters or of integers in millimeters, or a 16-bit PNG in millimeters.
        shape: height and width of its image.

    Raises:
        DataError: when it cannot be read, is of another type, or of another size than its image.
    """
    values = _npy(file) if file.suffix.lower() == ".npy" else _png(file)
    if values.ndim != 2 or values.dtype.kind not in "fui" or values.dtype.itemsize == 1:
        raise DataError(
            f'Depth "{file}" is an array of shape {values.shape} and {values.dtype}, expected (height, width) of '
            "floats in meters, or of 16-bit or larger integers in millimeters."
        )
    if values.shape != shape:
        raise DataError(
            f'Depth "{file}" is {values.shape[1]}x{values.shape[0]} (width x height), its image {shape[1]}x{shape[0]}.'
        )
    meters = values.astype(np.float32)
    return meters if values.dtype.kind == "f" else meters / np.float32(MILLIMETERS)


def _npy(file: Path) -> NDArray[np.generic]:
    try:
        data = file.read_bytes() if file.stat().st_size <= _MAX_BYTES else None
    except OSError as error:
        raise DataError(f'Depth "{file}" cannot be read: {error.strerror}.') from error
    if data is None:
        raise DataError(f'Depth "{file}" has more than {_MAX_BYTES >> 20} MB.')
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise DataError(f'Depth "{file}" is not an array that NumPy saved: {str(error)[:120]}.') from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(f'Depth "{file}" holds several arrays, expected one.')
    return loaded


def _png(file: Path) -> NDArray[np.generic]:
    try:
        data = read_image_bytes(file)
    except SourceError as error:
        raise DataError(error.message, error.hint) from error
    with opencv_log_silenced():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f'Depth "{file}" cannot be decoded.')
    return np.asarray(image)
