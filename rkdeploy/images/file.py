"""Decoder of one image file to (H, W, 3) uint8 BGR, with errors that name the file and the cause.

`cv2.imread` fails silently, prints to stderr, and allocates whatever size a header declares.  So `header.py` reads the
header first, and only formats whose header it understands are passed to OpenCV.

Pillow could do both, with a limit of its own, and gives the same pixels except for 16-bit gray.  Measured (Pillow 13.0,
OpenCV 4.11, 1080p): 46 ms for a JPEG of quality 95 where this takes 36 ms, 31 instead of 18 ms at quality 75, 105
instead of 31 ms for WebP, 69 instead of 86 ms for PNG; it adds 100 ms to the start of a program and 22 MB to a board.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rkdeploy.errors import SourceError
from rkdeploy.images.header import MAX_PIXELS, BrokenImageError, declared_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name suffixes, in lower case, that count as images when a folder is listed."""

MAX_FILE_BYTES = 1 << 30


@contextmanager
def opencv_log_silenced() -> Iterator[None]:
    """Suppress OpenCV's own log lines on stderr; our error messages replace them."""
    before = set_opencv_log_level(0)
    try:
        yield
    finally:
        set_opencv_log_level(before)


def set_opencv_log_level(level: int) -> int:
    """Set OpenCV's log level, 0 for silent, and return the previous one.  The function moved in OpenCV 4.13."""
    utils: Any = cv2.utils
    module = cv2 if hasattr(cv2, "setLogLevel") else utils.logging
    return int(module.setLogLevel(level))


def is_image_name(name: str) -> bool:
    """True if a file name has an image suffix.  Names with a leading dot do not count (macOS leaves `._photo.jpg`
    files).
    """
    dot = name.rfind(".")
    return dot > 0 and not name.startswith(".") and name[dot:].lower() in IMAGE_SUFFIXES


def read_image_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        SourceError: when it does not exist, is not a regular file, cannot be read, or is empty or above 1 GiB.
    """
    try:
        if path.is_dir():
            raise SourceError(f'Image "{path}" is a folder, expected a file.')
        if not path.exists():
            raise SourceError(f'Image "{path}" does not exist.')
        if not path.is_file():
            raise SourceError(f'Image "{path}" is not a regular file.')
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(f'Image "{path}" has {size} bytes, expected at most {MAX_FILE_BYTES}.')
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f'Image "{path}" cannot be read: {reason}.') from error
    if not data:
        raise SourceError(f'Image "{path}" is empty (0 bytes).')
    return data


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode one picture.

    The EXIF orientation is applied, 16 bits become 8, gray becomes BGR, and an alpha channel is dropped.

    Args:
        data: the whole file.
        name: name for messages.

    Returns:
        (H, W, 3) uint8 BGR, contiguous.

    Raises:
        SourceError: when it is not a picture in a known format, incomplete, damaged, or above `MAX_PIXELS`.
    """
    try:
        kind, width, height = declared_size(data)
    except BrokenImageError as error:
        raise SourceError(f'Image "{name}" {error}.') from error
    if width < 1 or height < 1:
        raise SourceError(f'Image "{name}" declares {width}x{height} pixels.')
    if width * height > MAX_PIXELS:
        raise SourceError(
            f'Image "{name}" declares {width}x{height} = {width * height / 1e6:.0f} megapixels, '
            f"expected at most {MAX_PIXELS / 1e6:.0f}.",
            "Scale it down or cut it into tiles first.",
        )
    try:
        with opencv_log_silenced():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        reason = getattr(error, "err", "") or "not enough memory"
        raise SourceError(f'Image "{name}" ({kind}) cannot be decoded: {" ".join(str(reason).split())}.') from error
    if image is None:
        raise SourceError(f'Image "{name}" ({kind}, {width}x{height}) is damaged: OpenCV cannot decode it.')
    return np.ascontiguousarray(image, np.uint8)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read and decode one image file: (H, W, 3) uint8 BGR.  See `decode_image`.

    Raises:
        SourceError: when it cannot be read or decoded.
    """
    return decode_image(read_image_bytes(path), str(path))
