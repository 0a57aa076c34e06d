"""Questions to V4L2 devices by ioctl: capabilities, pixel formats, frame sizes and rates.

Layouts and numbers are those of the kernel's ABI, linux/videodev2.h; they are the same on arm, aarch64 and
x86_64. A device is opened, asked and closed again: nothing is set and no buffer is requested, so that a camera in use
can be asked too.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.device.cameras.video_device import FrameRates, FrameSizes, NodeKind, PixelFormat, VideoDevice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Ioctl = Callable[[int, int, bytearray], object]
"""Descriptor, request, and the structure that the device reads and fills; raises OSError."""

CAPABILITY: Final = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, capabilities, device_caps
FORMAT: Final = struct.Struct("=III32xII12x")  # index, buffer type, flags, pixelformat, mbus_code
SIZE: Final = struct.Struct("=III6I8x")  # index, pixelformat, type; width, height or minimum, maximum, step of each
INTERVAL: Final = struct.Struct("=5I6I8x")  # index, pixelformat, width, height, type; fractions of a second
QUERY_CAPABILITY, LIST_FORMATS, LIST_SIZES, LIST_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B

SINGLE_PLANAR, MULTIPLANAR = 1, 9  # enum v4l2_buf_type
_CAPTURE, _CAPTURE_MULTIPLANAR, _MEMORY_TO_MEMORY = 0x1, 0x1000, 0xC000
_OUTPUT, _METADATA, _HAS_DEVICE_CAPABILITIES = 0x2 | 0x2000, 0x800000, 0x80000000
_COMPRESSED: Final = 0x1
_DISCRETE: Final = 1

# Drivers list up to some ten formats, thirty sizes each and ten rates each; one that never ends its list is cut off.
_MOST_FORMATS, _MOST_SIZES, _MOST_RATES, _MOST_QUESTIONS = 64, 64, 32, 4000
_END_OF_LIST: Final = frozenset({errno.EINVAL, errno.ENOTTY, errno.ENODATA})


def ask_by_ioctl(descriptor: int, request: int, answer: bytearray) -> None:
    """Send a request to the device; it fills `answer`.

    Raises:
        OSError: the driver refused it.
    """
    fcntl.ioctl(descriptor, request, answer, True)  # True: fills it in place


@dataclass(slots=True)
class _Conversation:
    """An opened device, and how many more questions it is asked."""

    descriptor: int
    ioctl: Ioctl
    left: int = _MOST_QUESTIONS

    def answer(self, request: int, layout: struct.Struct, *values: int) -> tuple[int, ...] | None:
        """Fields of the structure as the device filled it.

        None at the end of a list, or without questions left.

        Args:
            request: number of the request.
            layout: the structure's, with integers only.
            values: its first fields.
        """
        if self.left <= 0:
            return None
        self.left -= 1
        question = bytearray(struct.pack(f"={len(values)}I", *values).ljust(layout.size, b"\0"))
        try:
            self.ioctl(self.descriptor, request, question)
        except OSError as error:
            if error.errno in _END_OF_LIST:
                return None
            raise
        return layout.unpack(question)


def read_video_device(
    device: Path, path: str, size_wh: tuple[int, int] | None = None, ioctl: Ioctl = ask_by_ioctl
) -> VideoDevice:
    """Ask a device what it is and what it offers.

    Args:
        device: file of the node, below a sysroot perhaps.
        path: name of it in the result, `/dev/video0`.
        size_wh: width and height in pixels; rates of a grid of sizes are those at this size if the grid has it, else
            those at the largest size.
        ioctl: sends a request; `ask_by_ioctl`, or a stand-in.
    """
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _unanswered(path, error)
    try:
        return _described(path, _Conversation(descriptor, ioctl), size_wh)
    except OSError as error:
        return _unanswered(path, error)
    finally:
        os.close(descriptor)


def _unanswered(path: str, error: OSError) -> VideoDevice:
    code = error.errno or errno.EIO
    text = "not a V4L2 device" if code == errno.ENOTTY else os.strerror(code)
    return VideoDevice(path, "unknown", error=text, error_code=code)


def _described(path: str, device: _Conversation, size_wh: tuple[int, int] | None) -> VideoDevice:
    answer = bytearray(CAPABILITY.size)
    device.ioctl(device.descriptor, QUERY_CAPABILITY, answer)
    driver, card, bus, _version, of_card, of_node = CAPABILITY.unpack(answer)
    # `capabilities` are those of all nodes of the card together: by them a metadata node looks like a camera.
    capabilities = of_node if of_card & _HAS_DEVICE_CAPABILITIES else of_card
    kind = _kind(capabilities)
    formats: list[PixelFormat] = []
    if kind == "camera":
        buffers = ((SINGLE_PLANAR, _CAPTURE), (MULTIPLANAR, _CAPTURE_MULTIPLANAR))
        for buffer_type in (number for number, bit in buffers if capabilities & bit):
            formats += _formats(device, buffer_type, size_wh)
    return VideoDevice(path, kind, _text(card), _text(driver), _text(bus), tuple(formats))


def _kind(capabilities: int) -> NodeKind:
    if capabilities & _MEMORY_TO_MEMORY:
        return "codec"
    if capabilities & (_CAPTURE | _CAPTURE_MULTIPLANAR):
        return "camera"
    if capabilities & _METADATA:
        return "metadata"
    return "output" if capabilities & _OUTPUT else "other"


def _text(field: bytes) -> str:
    text = field.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text).strip()


def _formats(device: _Conversation, buffer_type: int, size_wh: tuple[int, int] | None) -> Iterator[PixelFormat]:
    for index in range(_MOST_FORMATS):
        answer = device.answer(LIST_FORMATS, FORMAT, index, buffer_type)
        if answer is None:
            return
        flags, code = answer[2], answer[3]
        # Bit 31 marks a big-endian variant; the other bits are four ASCII letters.
        fourcc = _text(struct.pack("<I", code & 0x7FFFFFFF)) + ("-BE" if code >> 31 else "")
        sizes = tuple(_sizes(device, code, size_wh))
        yield PixelFormat(fourcc, bool(flags & _COMPRESSED), buffer_type == MULTIPLANAR, sizes)


def _sizes(device: _Conversation, code: int, size_wh: tuple[int, int] | None) -> Iterator[FrameSizes]:
    for index in range(_MOST_SIZES):
        answer = device.answer(LIST_SIZES, SIZE, index, code)
        if answer is None:
            return
        if answer[2] == _DISCRETE:
            size = (answer[3], answer[4])
            yield FrameSizes(size, size, (1, 1), size, tuple(_rates(device, code, size)))
            continue
        (left, right, across, top, bottom, down) = answer[3:9]
        grid = FrameSizes((left, top), (right, bottom), (max(across, 1), max(down, 1)))
        at = size_wh if size_wh is not None and grid.contains(size_wh) else grid.largest_wh
        rates = tuple(_rates(device, code, at))
        yield FrameSizes(grid.smallest_wh, grid.largest_wh, grid.step_wh, at, rates)
        return  # the kernel's rule: a grid is the only entry


def _rates(device: _Conversation, code: int, size_wh: tuple[int, int]) -> Iterator[FrameRates]:
    for index in range(_MOST_RATES):
        answer = device.answer(LIST_INTERVALS, INTERVAL, index, code, *size_wh)
        if answer is None:
            return
        if answer[4] == _DISCRETE:
            rate = _rate(answer[5], answer[6])
            if rate is not None:
                yield FrameRates(rate, rate)
            continue
        highest, lowest = _rate(answer[5], answer[6]), _rate(answer[7], answer[8])  # the shortest interval comes first
        if highest is not None and lowest is not None:
            yield FrameRates(min(lowest, highest), max(lowest, highest))
        return


def _rate(numerator: int, denominator: int) -> float | None:
    """Frames per second of an interval in seconds, given as a fraction; None for one that is not a rate."""
    if numerator == 0 or denominator == 0:
        return None
    rate = denominator / numerator
    return rate if math.isfinite(rate) else None
