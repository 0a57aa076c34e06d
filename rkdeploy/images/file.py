"""Decoder of one image file to (H, W, 3) uint8 BGR, with errors that name the file and the cause.

`cv2.imread` fails silently, prints to stderr, and allocates whatever size a header declares.  So the header is read
here first: the format, the declared size (a small file can declare a huge picture), and whether the file is complete.
Only formats whose header is understood here are passed to OpenCV.
"""

from __future__ import annotations

import re
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rkdeploy.errors import SourceError, shown
from rkdeploy.system.text_file import TextFileError, read_text, text_lines
from rkdeploy.system.written_path import find_written, is_of_windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""File name suffixes, in lower case, that count as images when a folder is listed."""

MAX_PIXELS = 100_000_000
"""Pictures above this are refused: 100 megapixels are 300 MB decoded, more than a small board can spare."""

MAX_FILE_BYTES = 1 << 30
_MAX_LIST_BYTES = 256 << 20

_MAX_TIFF_TAGS = 512
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 256, 257, 258
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers
_BMP_PLAIN = frozenset({0, 3})  # uncompressed rows, without or with color masks
_JPEG_END = b"\xff\xd9"
_PNM = re.compile(rb"P[2356]\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s")


class _BrokenImageError(Exception):
    """The reason why the bytes are not a picture, as the second half of a sentence."""


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


def paths_in_list(list_file: Path) -> tuple[Path, ...]:
    """The paths in a text file, in its order: one per line, relative to the list; `#` begins a comment line.

    Encodings as in `rkdeploy.system.text_file`, paths as in `rkdeploy.system.written_path`.  The files need not exist.

    Raises:
        SourceError: when the list cannot be read, is not a text file, names nothing, or names a Windows drive that
            is not mounted here.
    """
    try:
        text = read_text(list_file, _MAX_LIST_BYTES)
    except TextFileError as error:
        raise SourceError(
            f'List file "{list_file}" {error.reason}.',
            error.fix or "Expected a text file with one image path per line.",
        ) from error
    lines = [line.strip() for line in text_lines(text)]
    written = [line for line in lines if line and not line.startswith("#")]
    if not written:
        raise SourceError(f'List file "{list_file}" names no image.', "Write one image path per line, relative to it.")
    paths = tuple(find_written(line, list_file.parent) for line in written)
    for line, path in zip(written, paths, strict=True):
        if is_of_windows(line) and not path.exists():
            raise SourceError(
                f'List file "{list_file}" names {shown(line)}, a path of a Windows machine.',
                "Write the paths relative to the list file.",
            )
    return paths


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
        kind, width, height = _declared_size(data)
    except _BrokenImageError as error:
        raise SourceError(f'Image "{name}" {error}.') from error
    except (struct.error, IndexError) as error:
        raise SourceError(f'Image "{name}" is cut off in its header ({len(data)} bytes).') from error
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


def _declared_size(data: bytes) -> tuple[str, int, int]:
    """Format, width and height from the header.

    Raises:
        _BrokenImageError: when the bytes are not a complete picture.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return ("JPEG", *_jpeg_size(data))
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return ("PNG", *_png_size(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ("WebP", *_webp_size(data))
    if data.startswith(b"BM"):
        return ("BMP", *_bmp_size(data))
    if data[:4] in {b"II*\0", b"MM\0*"}:
        return ("TIFF", *_tiff_size(data))
    if match := _PNM.match(data[:1024]):
        return ("PNM", *_pnm_size(data, match))
    if data.startswith(b"version https://git-lfs"):
        raise _BrokenImageError("is a Git LFS pointer, not the picture; run `git lfs pull`")
    raise _BrokenImageError(f"is not a picture (JPEG, PNG, WebP, BMP, TIFF or PNM): it begins with {data[:12]!r}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        if data[at] != 0xFF:
            raise _BrokenImageError("is a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xDA:  # the compressed data begins; 0xFF is escaped in it, so an end marker is unambiguous
            if size is None:
                raise _BrokenImageError("is a damaged JPEG without a size")
            if data.find(_JPEG_END, at) < 0:
                raise _BrokenImageError(f"is a JPEG that is cut off after {len(data)} bytes")
            return size
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise _BrokenImageError("is a damaged JPEG")
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        at += 2 + length


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            break
        # Lower-case chunks are optional (dates, color profiles); damage there does not affect the picture.
        if kind[:1].isupper() and zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise _BrokenImageError(f"is a damaged PNG: the checksum of its chunk {kind!r} is wrong")
        if kind == b"IEND":
            return width, height
        at = end + 4
    raise _BrokenImageError(f"is a PNG that is cut off after {len(data)} bytes")


def _webp_size(data: bytes) -> tuple[int, int]:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if riff_bytes + 8 > len(data) + 1:  # some writers count a padding byte that they do not write
        raise _BrokenImageError(f"is a WebP that is cut off after {len(data)} of {riff_bytes + 8} bytes")
    kind = data[12:16]
    if kind == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _BrokenImageError("is a damaged WebP")


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: stored from the top row down
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    row_bytes = (width * bits + 31) // 32 * 4
    if compression in _BMP_PLAIN and width * height <= MAX_PIXELS and len(data) < pixels_at + row_bytes * height:
        raise _BrokenImageError(f"is a BMP that is cut off after {len(data)} bytes")
    return width, height


def _pnm_size(data: bytes, header: re.Match[bytes]) -> tuple[int, int]:
    """Width and height of a PNM; a binary file is checked for its smallest size, one byte per value."""
    width, height = int(header[1]), int(header[2])
    channels = {b"P5": 1, b"P6": 3}.get(data[:2], 0)
    if width * height <= MAX_PIXELS and len(data) - header.end() < width * height * channels:
        raise _BrokenImageError(f"is a PNM that is cut off after {len(data)} bytes")
    return width, height


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    tags: dict[int, int] = {}
    for i in range(min(count, _MAX_TIFF_TAGS)):
        at = directory + 2 + 12 * i
        tag, kind, length = struct.unpack_from(order + "HHI", data, at)
        if kind in {3, 4}:  # 16 or 32 bit; several values are stored elsewhere, at the offset given here
            item, item_bytes = ("H", 2) if kind == 3 else ("I", 4)
            if length * item_bytes > 4:
                (at_values,) = struct.unpack_from(order + "I", data, at + 8)
            else:
                at_values = at + 8
            (tags[tag],) = struct.unpack_from(order + item, data, at_values)
    if _TIFF_WIDTH not in tags or _TIFF_HEIGHT not in tags:
        raise _BrokenImageError("is a damaged TIFF without a size")
    if tags.get(_TIFF_BITS, 8) > 16:
        # OpenCV also refuses these, but gives the reason only in its log.
        raise _BrokenImageError(f"is a TIFF with {tags[_TIFF_BITS]} bits per channel, expected 8 or 16")
    return tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
