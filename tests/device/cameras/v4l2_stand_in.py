"""A stand-in for the kernel's V4L2 ioctls: devices are described as data and answer by descriptor."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rkdeploy.device.cameras import v4l2

CAPTURE, CAPTURE_MULTIPLANAR, CODEC, METADATA = 0x1, 0x1000, 0x4000, 0x800000
Size = tuple[int, ...]
"""Width and height, or (minimum, maximum, step) of the width and then of the height, as in the kernel's structure."""
Intervals = tuple[tuple[int, ...], ...]
"""Fractions (numerator, denominator); one of six numbers is a range: shortest, longest, step."""


@dataclass(frozen=True)
class StandInFormat:
    """A pixel format: its four letters, and sizes with their frame intervals."""

    fourcc: str
    sizes: Mapping[Size, Intervals] = field(default_factory=dict)
    compressed: bool = False


@dataclass(frozen=True)
class StandInDevice:
    """A node: texts, its own capabilities, those of the whole card, and its formats."""

    card: str
    driver: str
    bus: str
    capabilities: int
    formats: tuple[StandInFormat, ...] = ()
    of_card: int = 0


def code(fourcc: str) -> int:
    """Number of a pixel format."""
    return int.from_bytes(fourcc.encode().ljust(4), "little")


class StandInKernel:
    """Answers V4L2 requests for files that stand in for device nodes.

    Args:
        devices: by the node's name, `video0`.
    """

    def __init__(self, devices: Mapping[str, StandInDevice]) -> None:
        self.devices = devices
        self.questions = 0

    def make_nodes(self, root: Path) -> None:
        """Create one file per node below a root's dev folder."""
        (root / "dev").mkdir(parents=True, exist_ok=True)
        for name in self.devices:
            (root / "dev" / name).touch()

    def __call__(self, descriptor: int, request: int, answer: bytearray) -> None:
        """Fill `answer` as the kernel would, or raise OSError."""
        self.questions += 1
        device = self.devices.get(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        if device is None:
            raise OSError(errno.ENOTTY, "not a V4L2 device")
        if request == v4l2.QUERY_CAPABILITY:
            texts = (device.driver.encode(), device.card.encode(), device.bus.encode())
            of_card = 0x80000000 | device.of_card | device.capabilities
            v4l2.CAPABILITY.pack_into(answer, 0, *texts, 0x50A00, of_card, device.capabilities)
        elif request == v4l2.LIST_FORMATS:
            index, buffer_type = struct.unpack_from("=II", answer)
            wanted = v4l2.MULTIPLANAR if device.capabilities & CAPTURE_MULTIPLANAR else v4l2.SINGLE_PLANAR
            if buffer_type != wanted or index >= len(device.formats):
                raise OSError(errno.EINVAL, "end of list")
            found = device.formats[index]
            v4l2.FORMAT.pack_into(answer, 0, index, buffer_type, int(found.compressed), code(found.fourcc), 0)
        elif request == v4l2.LIST_SIZES:
            index, number = struct.unpack_from("=II", answer)
            sizes = list(self._format(device, number).sizes)
            if index >= len(sizes):
                raise OSError(errno.EINVAL, "end of list")
            size = sizes[index]
            v4l2.SIZE.pack_into(answer, 0, index, number, 1 if len(size) == 2 else 3, *size, *[0] * (6 - len(size)))
        else:
            index, number, *asked = struct.unpack_from("=4I", answer)
            sizes_of_format = self._format(device, number).sizes
            grid = next((rates for size, rates in sizes_of_format.items() if len(size) == 6), ())
            intervals = sizes_of_format.get(tuple(asked), grid)
            if index >= len(intervals):
                raise OSError(errno.EINVAL, "end of list")
            one = intervals[index]
            kind = 1 if len(one) == 2 else 3
            v4l2.INTERVAL.pack_into(answer, 0, index, number, *asked, kind, *one, *[0] * (6 - len(one)))

    @staticmethod
    def _format(device: StandInDevice, number: int) -> StandInFormat:
        return next(one for one in device.formats if code(one.fourcc) == number)


THIRTY, TEN = (1, 30), (1, 10)
WEBCAM = StandInDevice(
    "HD Webcam", "uvcvideo", "usb-xhci-hcd.8.auto-1", CAPTURE,
    (
        StandInFormat(
            "MJPG",
            {(1920, 1080): (THIRTY,), (1280, 720): ((1, 60), THIRTY), (640, 480): (THIRTY,)},
            compressed=True,
        ),
        StandInFormat("YUYV", {(640, 480): (THIRTY,), (320, 240): (THIRTY,), (1280, 720): (TEN,)}),
    ),
    of_card=METADATA,
)  # fmt: skip
WEBCAM_METADATA = StandInDevice("HD Webcam", "uvcvideo", "usb-xhci-hcd.8.auto-1", METADATA, of_card=CAPTURE)
MAIN_PATH = StandInDevice(
    "rkisp_mainpath", "rkisp_v6", "platform:rkisp0-vir0", CAPTURE_MULTIPLANAR,
    (
        StandInFormat("UYVY", {(32, 3840, 8, 32, 2160, 8): ((1, 60, 1, 1, 1, 1000),)}),
        StandInFormat("NV12", {(32, 3840, 8, 32, 2160, 8): ((1, 60, 1, 1, 1, 1000),)}),
    ),
)  # fmt: skip
RAW_DATA = StandInDevice(
    "rkisp_rawwr0", "rkisp_v6", "platform:rkisp0-vir0", CAPTURE_MULTIPLANAR, (StandInFormat("BG10"),)
)
STATISTICS = StandInDevice("rkisp-statistics", "rkisp_v6", "platform:rkisp0-vir0", METADATA)
DECODER = StandInDevice("rkvdec", "rkvdec", "platform:rkvdec", CODEC)
KERNEL_DEVICES = {
    "video0": WEBCAM, "video1": WEBCAM_METADATA, "video11": MAIN_PATH, "video13": RAW_DATA,
    "video18": STATISTICS, "video40": DECODER,
}  # fmt: skip
