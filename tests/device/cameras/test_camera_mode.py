"""The pixel format of a camera: by size, then rate, then bandwidth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.device.cameras.camera_mode import CameraMode, choose_mode, is_readable
from rkdeploy.device.cameras.v4l2 import read_video_device
from rkdeploy.device.cameras.video_device import FrameRates, FrameSizes, PixelFormat, VideoDevice
from tests.device.cameras.v4l2_stand_in import KERNEL_DEVICES, StandInKernel


def stand_in(root: Path, name: str, size_wh: tuple[int, int] | None) -> VideoDevice:
    kernel = StandInKernel(KERNEL_DEVICES)
    kernel.make_nodes(root)
    return read_video_device(root / "dev" / name, f"/dev/{name}", size_wh, kernel)


def pixel_format(fourcc: str, *sizes: tuple[int, int, float]) -> PixelFormat:
    single = (FrameSizes((w, h), (w, h), (1, 1), (w, h), (FrameRates(rate, rate),)) for w, h, rate in sizes)
    return PixelFormat(fourcc, fourcc == "MJPG", multiplanar=False, sizes=tuple(single))


@pytest.mark.parametrize(
    ("size_wh", "rate", "chosen"),
    [
        ((1280, 720), None, CameraMode("MJPG", (1280, 720), 30)),  # YUYV has 10 frames per second there
        ((1280, 720), 10, CameraMode("YUYV", (1280, 720), 10)),  # 18 MB/s, but MJPG has 30 and 60 only
        ((1280, 720), 60, CameraMode("MJPG", (1280, 720), 60)),
        ((320, 240), None, CameraMode("YUYV", (320, 240), 30)),  # 4.6 MB/s: no JPEG needed
        ((640, 480), None, CameraMode("MJPG", (640, 480), 30)),  # 18 MB/s: two such cameras do not fit on USB 2
        (None, None, CameraMode("MJPG", (640, 480), 30)),
        ((1900, 1000), None, CameraMode("MJPG", (1920, 1080), 30)),  # the nearest size
    ],
)
def test_a_webcam(size_wh: tuple[int, int] | None, rate: float | None, chosen: CameraMode, tmp_path: Path) -> None:
    """Motion JPEG where size, rate or USB 2 need it, else uncompressed."""
    assert choose_mode(stand_in(tmp_path, "video0", size_wh), size_wh, rate) == chosen


def test_a_sensor_on_the_board(tmp_path: Path) -> None:
    """NV12 at any size: it needs less memory than UYVY, and no bus limits it; a size off the grid is cut to it."""
    device = stand_in(tmp_path, "video11", (1920, 1080))
    assert choose_mode(device, (1920, 1080), 30) == CameraMode("NV12", (1920, 1080), 30)
    assert choose_mode(device, (1923, 5000), 90) == CameraMode("NV12", (1920, 2160), 60)


def test_only_one_format() -> None:
    """A USB camera without motion JPEG is read uncompressed, whatever it takes; one with H.264 only is not chosen."""
    device = VideoDevice("/dev/video0", "camera", bus="usb-1", formats=(pixel_format("YUYV", (1920, 1080, 5.0)),))
    assert choose_mode(device, (1920, 1080), 30) == CameraMode("YUYV", (1920, 1080), 5)
    encoded = replace(device, formats=(pixel_format("H264", (640, 480, 30.0)),))
    assert choose_mode(encoded, None, None) is None
    assert (is_readable(device), is_readable(encoded)) == (True, False)
    assert is_readable(replace(device, formats=(pixel_format("GREY", (640, 480, 30.0)),)))


def test_a_driver_that_lists_formats_only() -> None:
    """Without sizes and rates the format alone decides, and nothing is promised."""
    formats = (PixelFormat("UYVY", compressed=False, multiplanar=False, sizes=()),)
    device = VideoDevice("/dev/video0", "camera", bus="platform:capture", formats=formats)
    assert choose_mode(device, (1280, 720), 25) == CameraMode("UYVY", (1280, 720), None)
