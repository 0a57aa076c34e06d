"""Headers of image files: format, declared size, and whether the file is complete.

A small file can declare a huge picture, and a decoder shows half a picture without an error.  Both are found here
before anything is decoded.
"""

from __future__ import annotations

import re
import struct
import zlib

MAX_PIXELS = 100_000_000
"""Pictures above this are refused: 100 megapixels are 300 MB decoded, more than a small board can spare."""

_MAX_TIFF_TAGS = 512
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 256, 257, 258
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start-of-frame markers
_BMP_PLAIN = frozenset({0, 3})  # uncompressed rows, without or with color masks
_JPEG_END = b"\xff\xd9"
_PNM = re.compile(rb"P[2356]\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s")


class BrokenImageError(Exception):
    """The reason why the bytes are not a picture, as the second half of a sentence."""


def declared_size(data: bytes) -> tuple[str, int, int]:
    """Format, width and height (px) from the header.

    Raises:
        BrokenImageError: when the bytes are not a complete picture in a known format.
    """
    try:
        return _declared_size(data)
    except (struct.error, IndexError) as error:
        raise BrokenImageError(f"is cut off in its header ({len(data)} bytes)") from error


def _declared_size(data: bytes) -> tuple[str, int, int]:
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
        raise BrokenImageError("is a Git LFS pointer, not the picture; run `git lfs pull`")
    raise BrokenImageError(f"is not a picture (JPEG, PNG, WebP, BMP, TIFF or PNM): it begins with {data[:12]!r}")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        if data[at] != 0xFF:
            raise BrokenImageError("is a damaged JPEG")
        marker = data[at + 1]
        if marker == 0xDA:  # the compressed data begins; 0xFF is escaped in it, so an end marker is unambiguous
            if size is None:
                raise BrokenImageError("is a damaged JPEG without a size")
            if data.find(_JPEG_END, at) < 0:
                raise BrokenImageError(f"is a JPEG that is cut off after {len(data)} bytes")
            return size
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2:
            raise BrokenImageError("is a damaged JPEG")
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
            raise BrokenImageError(f"is a damaged PNG: the checksum of its chunk {kind!r} is wrong")
        if kind == b"IEND":
            return width, height
        at = end + 4
    raise BrokenImageError(f"is a PNG that is cut off after {len(data)} bytes")


def _webp_size(data: bytes) -> tuple[int, int]:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if riff_bytes + 8 > len(data) + 1:  # some writers count a padding byte that they do not write
        raise BrokenImageError(f"is a WebP that is cut off after {len(data)} of {riff_bytes + 8} bytes")
    kind = data[12:16]
    if kind == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise BrokenImageError("is a damaged WebP")


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
        raise BrokenImageError(f"is a BMP that is cut off after {len(data)} bytes")
    return width, height


def _pnm_size(data: bytes, header: re.Match[bytes]) -> tuple[int, int]:
    """Width and height of a PNM; a binary file is checked for its smallest size, one byte per value."""
    width, height = int(header[1]), int(header[2])
    channels = {b"P5": 1, b"P6": 3}.get(data[:2], 0)
    if width * height <= MAX_PIXELS and len(data) - header.end() < width * height * channels:
        raise BrokenImageError(f"is a PNM that is cut off after {len(data)} bytes")
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
        raise BrokenImageError("is a damaged TIFF without a size")
    if tags.get(_TIFF_BITS, 8) > 16:
        # OpenCV also refuses these, but gives the reason only in its log.
        raise BrokenImageError(f"is a TIFF with {tags[_TIFF_BITS]} bits per channel, expected 8 or 16")
    return tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
