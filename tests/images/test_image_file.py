"""Reading image files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.errors import SourceError
from rkdeploy.images.file import decode_image, is_image_name, read_image
from rkdeploy.images.list_file import paths_in_list

SAMPLE = Path(__file__).parents[2] / "calib_data" / "images" / "val" / "val_0000.jpg"
FORMATS = (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm")


def encoded(suffix: str, image: cv2.typing.MatLike) -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_keeps_its_size(suffix: str) -> None:
    """Every format that a folder listing takes decodes to (H, W, 3) uint8, non-square included."""
    image = decode_image(encoded(suffix, cv2.imread(str(SAMPLE))[:100, :160]), "x")
    assert image.shape == (100, 160, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    "image",
    [
        np.full((5, 7), 200 * 257, np.uint16),
        np.full((5, 7, 3), 200 * 257, np.uint16),
        np.full((5, 7, 4), 200 * 257, np.uint16),
        np.full((5, 7), 200, np.uint8),
        np.dstack((np.full((5, 7, 3), 200, np.uint8), np.zeros((5, 7), np.uint8))),
    ],
    ids=["16-bit grey", "16-bit color", "16-bit alpha", "grey", "transparent"],
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_depth_becomes_8_bit_color(image: cv2.typing.MatLike, suffix: str) -> None:
    """16 bits, gray and alpha all give the same 8-bit BGR color."""
    assert np.array_equal(decode_image(encoded(suffix, image), "x"), np.full((5, 7, 3), 200, np.uint8))


def test_exif_orientation_is_applied() -> None:
    """A JPEG whose EXIF says "turned by 90 degrees" comes out upright, as a viewer shows it."""
    jpeg = encoded(".jpg", np.zeros((20, 40, 3), np.uint8))
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert decode_image(turned, "x").shape == (40, 20, 3)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_cut_off_file_is_refused(suffix: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that ends too early is refused by name, and nothing else is printed."""
    data = encoded(suffix, cv2.imread(str(SAMPLE)))
    with pytest.raises(SourceError, match='"cut"'):
        decode_image(data[: int(len(data) * share)], "cut")
    assert capfd.readouterr() == ("", "")


def test_a_damaged_png_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """Damage inside a PNG is found by its checksum, before libpng can print about it."""
    data = bytearray(encoded(".png", cv2.imread(str(SAMPLE))))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(SourceError, match="checksum of its chunk b'IDAT'"):
        decode_image(bytes(data), "x")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "data",
    [
        png_header(100_000, 100_000),
        b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 50_000, -50_000) + b"\0" * 40,
        b"P6 40000 40000 255\n" + b"\0" * 64,
        b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + b"\x0a\0\0\0" + b"\0\0\0\0" + b"\xff\xff\0" * 2,
    ],
    ids=["png", "bmp", "ppm", "webp"],
)
def test_a_decompression_bomb_is_refused_from_its_header(data: bytes) -> None:
    """A small file that declares thousands of megapixels is refused before anything is decoded."""
    with pytest.raises(SourceError, match="megapixels, expected at most 100"):
        decode_image(data, "bomb")


def test_float_tiff_is_refused() -> None:
    """A 32-bit TIFF is refused with its depth."""
    uncompressed = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    done, data = cv2.imencode(".tif", np.full((5, 7, 3), 0.5, np.float32), uncompressed)
    assert done
    with pytest.raises(SourceError, match="32 bits per channel"):
        decode_image(data.tobytes(), "x")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html>", "is not a picture"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x93NUMPY\x01\x00", "is not a picture"),
        (b"\xff\xd8\xff\xe0\x00\x01", "damaged JPEG"),
        (b"\xff\xd8\xff", "cut off in its header"),
        (b"II*\0\xff\xff\xff\xff", "cut off in its header"),
        (png_header(0, 10), "declares 0x10"),
        (png_header(10, 10), "damaged"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, says: str) -> None:
    """Bytes that are not a complete picture are refused with the reason."""
    with pytest.raises(SourceError, match=says):
        decode_image(data, "x")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    """A missing file, a folder and an empty file are each refused as what they are."""
    (tmp_path / "empty.jpg").touch()
    for name, says in (("no.jpg", "does not exist"), (".", "is a folder"), ("empty.jpg", "is empty")):
        with pytest.raises(SourceError, match=says):
            read_image(tmp_path / name)


def test_non_ascii_paths(tmp_path: Path) -> None:
    """A file with a Chinese name is read like any other."""
    path = tmp_path / "螺栓 №1.jpg"
    path.write_bytes(SAMPLE.read_bytes())
    assert read_image(path).shape == (480, 640, 3)


def test_image_names() -> None:
    """Suffixes count in any case; hidden files and bare suffixes are not images."""
    assert [name for name in ("a.JPG", "b.tiff", "._c.jpg", ".jpg", "d.txt", "jpg", "e.") if is_image_name(name)] == [
        "a.JPG",
        "b.tiff",
    ]


def test_list_files(tmp_path: Path) -> None:
    """A list is relative to itself, keeps its order, and skips comments, blank lines and a byte order mark."""
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff# first\n./b.jpg\r\n\n  ../up/ä b.jpg \n/abs/c.jpg\n".encode())
    assert paths_in_list(path) == (tmp_path / "b.jpg", tmp_path.parent / "up" / "ä b.jpg", Path("/abs/c.jpg"))


@pytest.mark.parametrize(("data", "says"), [(b"# only\n\n", "names no image"), (b"\xff", "UTF-8"), (b"a\0", "NUL")])
def test_bad_list_files(tmp_path: Path, data: bytes, says: str) -> None:
    """A list that is empty or no text is refused."""
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(SourceError, match=says):
        paths_in_list(tmp_path / "list.txt")
    with pytest.raises(SourceError, match="cannot be read"):
        paths_in_list(tmp_path / "none.txt")
