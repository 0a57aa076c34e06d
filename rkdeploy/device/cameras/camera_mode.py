"""The pixel format in which a camera is read, chosen by what it offers for the size and rate that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.device.cameras.video_device import FrameSizes, PixelFormat, VideoDevice

DEFAULT_SIZE_WH: Final = (640, 480)  # OpenCV's V4L2 capture asks for these if nothing else is asked for
DEFAULT_RATE: Final = 30.0

_BYTES_PER_PIXEL: Final = {
    "NV12": 1.5, "NV21": 1.5, "YU12": 1.5, "YV12": 1.5, "UYVY": 2.0, "YUYV": 2.0, "BGR3": 3.0, "RGB3": 3.0,
}  # fmt: skip
"""Uncompressed formats with color that OpenCV (4.7 and later) converts, in order of preference: least memory first."""
JPEG: Final = ("MJPG", "JPEG")
READABLE: Final = (*_BYTES_PER_PIXEL, *JPEG)
_GRAY: Final = "GREY"  # infrared cameras; OpenCV takes it by itself if there is nothing else

_USB_BYTES_PER_SECOND: Final = 3 * 1024 * 8000 / 2
"""Half of what USB 2 can reserve for a device (three packets of 1024 bytes in each of 8000 microframes per second), so
that two cameras fit."""


@dataclass(frozen=True, slots=True)
class CameraMode:
    """A pixel format with the size and rate that the camera offers in it.

    Attributes:
        fourcc: pixel format, `NV12`.
        size_wh: offered width and height in pixels that are nearest to the requested ones.
        rate: offered frames per second that are nearest to the requested ones; None if the driver states none.
    """

    fourcc: str
    size_wh: tuple[int, int]
    rate: float | None


def is_readable(device: VideoDevice) -> bool:
    """True if a device captures pictures that OpenCV reads: not H.264, and not the raw data of a sensor (`BG10`)."""
    return device.kind == "camera" and any(one.fourcc in (*READABLE, _GRAY) for one in device.formats)


def choose_mode(
    device: VideoDevice, size_wh: tuple[int, int] | None, frames_per_second: float | None
) -> CameraMode | None:
    """Choose the pixel format for a size and rate; None if the camera lists no format with color that can be read.

    The nearest size decides first, then the rate: without a requested one, 30 frames per second or more are as good
    as 30.  Of formats with equal size and rate an uncompressed one is chosen, because decoding JPEG takes CPU time,
    but motion JPEG if the pictures would take more than half of USB 2's bandwidth.

    Args:
        device: answers of the camera, with rates at the requested size.
        size_wh: requested width and height in pixels; None for 640x480.
        frames_per_second: requested rate; None for 30.
    """
    asked_wh = DEFAULT_SIZE_WH if size_wh is None else size_wh
    ranked = [
        (_rank(device, mode, asked_wh, frames_per_second), mode)
        for one in device.formats
        if one.fourcc in READABLE
        for mode in _modes(one, asked_wh, frames_per_second)
    ]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _modes(
    pixel_format: PixelFormat, asked_wh: tuple[int, int], frames_per_second: float | None
) -> Iterator[CameraMode]:
    if not pixel_format.sizes:  # a driver that does not list sizes takes any
        yield CameraMode(pixel_format.fourcc, asked_wh, None)
    for sizes in pixel_format.sizes:
        yield CameraMode(
            pixel_format.fourcc, _nearest_size(sizes, asked_wh), _nearest_rate(sizes, frames_per_second or DEFAULT_RATE)
        )


def _nearest_size(sizes: FrameSizes, asked_wh: tuple[int, int]) -> tuple[int, int]:
    axes = zip(asked_wh, sizes.smallest_wh, sizes.largest_wh, sizes.step_wh, strict=True)
    width, height = (low + (min(max(asked, low), high) - low) // step * step for asked, low, high, step in axes)
    return width, height


def _nearest_rate(sizes: FrameSizes, asked: float) -> float | None:
    if any(rates.contains(asked) for rates in sizes.rates):
        return asked
    ends = [end for rates in sizes.rates for end in (rates.lowest, rates.highest)]
    return min(ends, key=lambda end: abs(end - asked), default=None)


def _rank(
    device: VideoDevice, mode: CameraMode, asked_wh: tuple[int, int], frames_per_second: float | None
) -> tuple[float, float, bool, int]:
    """Distance from what was asked for, smaller is better: size, rate, bandwidth, preference."""
    distance = sum(abs(given - asked) for given, asked in zip(mode.size_wh, asked_wh, strict=True))
    rate = DEFAULT_RATE if mode.rate is None else mode.rate
    missed = max(0.0, DEFAULT_RATE - rate) if frames_per_second is None else abs(frames_per_second - rate)
    if mode.rate is None:
        missed = 0.0
    per_second = mode.size_wh[0] * mode.size_wh[1] * rate * _BYTES_PER_PIXEL.get(mode.fourcc, 0.0)
    too_much = device.bus.startswith("usb") and per_second > _USB_BYTES_PER_SECOND
    return distance, missed, too_much, READABLE.index(mode.fourcc)
