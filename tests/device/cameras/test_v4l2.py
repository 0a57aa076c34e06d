"""V4L2 devices as data: the kernel's layouts, what each kind of node says, and drivers that do not behave."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from rkdeploy.device.cameras import v4l2
from rkdeploy.device.cameras.v4l2 import read_video_device
from rkdeploy.device.cameras.video_device import FrameRates, FrameSizes, VideoDevice, sizes_text
from tests.device.cameras.v4l2_stand_in import KERNEL_DEVICES, StandInKernel

HEADER = Path("/usr/include/linux/videodev2.h")
PROGRAM = r"""
#include <stdio.h>
#include <stddef.h>
#include <linux/videodev2.h>
int main(void) {
    printf("%zu %zu %zu %zu\n", sizeof(struct v4l2_capability), sizeof(struct v4l2_fmtdesc),
           sizeof(struct v4l2_frmsizeenum), sizeof(struct v4l2_frmivalenum));
    printf("%lu %lu %lu %lu\n", (unsigned long)VIDIOC_QUERYCAP, (unsigned long)VIDIOC_ENUM_FMT,
           (unsigned long)VIDIOC_ENUM_FRAMESIZES, (unsigned long)VIDIOC_ENUM_FRAMEINTERVALS);
    printf("%zu %zu %zu %zu\n", offsetof(struct v4l2_capability, device_caps),
           offsetof(struct v4l2_fmtdesc, pixelformat), offsetof(struct v4l2_frmsizeenum, discrete),
           offsetof(struct v4l2_frmivalenum, discrete));
    printf("%d %d %d %d\n", V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
           V4L2_FRMSIZE_TYPE_DISCRETE, V4L2_FRMIVAL_TYPE_DISCRETE);
    return 0;
}
"""


@pytest.fixture
def kernel(tmp_path: Path) -> StandInKernel:
    stand_in = StandInKernel(KERNEL_DEVICES)
    stand_in.make_nodes(tmp_path)
    return stand_in


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def ask(kernel: v4l2.Ioctl, root: Path, name: str, size_wh: tuple[int, int] | None = None) -> VideoDevice:
    return read_video_device(root / "dev" / name, f"/dev/{name}", size_wh, kernel)


def test_the_layouts_are_the_kernels(tmp_path: Path) -> None:
    """Sizes, offsets, request numbers and constants agree with this machine's linux/videodev2.h."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not HEADER.exists():
        pytest.skip("needs a C compiler and linux/videodev2.h (linux-libc-dev)")
    (tmp_path / "layouts.c").write_text(PROGRAM)
    program = tmp_path / "layouts"
    subprocess.run([compiler, tmp_path / "layouts.c", "-o", program], check=True, timeout=60)
    printed = subprocess.run([program], check=True, timeout=10, capture_output=True, text=True).stdout
    sizes, requests, offsets, constants = ([int(word) for word in line.split()] for line in printed.splitlines())
    assert sizes == [one.size for one in (v4l2.CAPABILITY, v4l2.FORMAT, v4l2.SIZE, v4l2.INTERVAL)]
    assert requests == [v4l2.QUERY_CAPABILITY, v4l2.LIST_FORMATS, v4l2.LIST_SIZES, v4l2.LIST_INTERVALS]
    # Fields before: three texts and two numbers; three numbers and a text; three numbers; five numbers.
    assert offsets == [16 + 32 + 32 + 2 * 4, 3 * 4 + 32, 3 * 4, 5 * 4]
    assert constants == [v4l2.SINGLE_PLANAR, v4l2.MULTIPLANAR, 1, 1]


def test_a_webcam(kernel: StandInKernel, tmp_path: Path) -> None:
    """Card, driver and bus, two formats, their single sizes, and all rates of each."""
    device = ask(kernel, tmp_path, "video0")
    assert (device.kind, device.card, device.driver, device.bus) == (
        "camera", "HD Webcam", "uvcvideo", "usb-xhci-hcd.8.auto-1",
    )  # fmt: skip
    motion_jpeg, yuyv = device.formats
    assert (motion_jpeg.fourcc, motion_jpeg.compressed, motion_jpeg.multiplanar) == ("MJPG", True, False)
    assert (yuyv.fourcc, yuyv.compressed) == ("YUYV", False)
    assert motion_jpeg.sizes[1] == FrameSizes(
        (1280, 720), (1280, 720), (1, 1), (1280, 720), (FrameRates(60, 60), FrameRates(30, 30))
    )
    assert str(motion_jpeg) == "MJPG 1920x1080 at 30, 1280x720 at 60, 640x480 at 30"


def test_the_second_node_of_a_webcam(kernel: StandInKernel, tmp_path: Path) -> None:
    """The node's own capabilities decide: the card's say that it captures, this node gives metadata only."""
    device = ask(kernel, tmp_path, "video1")
    assert (device.kind, device.formats, device.gives_pictures) == ("metadata", (), False)
    assert device.is_of_same_card(ask(kernel, tmp_path, "video0"))
    assert not device.is_of_same_card(ask(kernel, tmp_path, "video11"))


def test_a_multiplanar_node_with_a_grid_of_sizes(kernel: StandInKernel, tmp_path: Path) -> None:
    """Formats of the multiplanar buffer type, sizes in steps, a range of rates."""
    device = ask(kernel, tmp_path, "video11", (1920, 1080))
    assert [(one.fourcc, one.multiplanar) for one in device.formats] == [("UYVY", True), ("NV12", True)]
    (grid,) = device.formats[1].sizes
    assert (grid.smallest_wh, grid.largest_wh, grid.step_wh) == ((32, 32), (3840, 2160), (8, 8))
    assert (grid.rates_wh, grid.rates) == ((1920, 1080), (FrameRates(1, 60),))
    assert grid.contains((1920, 1080))
    assert not grid.contains((1921, 1080))
    assert not grid.contains((3848, 1080))
    assert str(grid) == "32x32 to 3840x2160 at 60"


@pytest.mark.parametrize(("name", "kind"), [("video18", "metadata"), ("video40", "codec")])
def test_nodes_without_pictures(name: str, kind: str, kernel: StandInKernel, tmp_path: Path) -> None:
    """Statistics of an ISP and decoders are not cameras, and are not asked for formats."""
    assert ask(kernel, tmp_path, name).kind == kind
    assert kernel.questions == 1


def test_a_file_that_is_not_a_device(tmp_path: Path) -> None:
    """The kernel itself refuses the request for a plain file; a missing one is named as such."""
    (tmp_path / "video0").touch()
    plain = read_video_device(tmp_path / "video0", "/dev/video0")
    assert (plain.kind, plain.error, plain.error_code) == ("unknown", "not a V4L2 device", errno.ENOTTY)
    missing = read_video_device(tmp_path / "video1", "/dev/video1")
    assert (missing.kind, missing.error_code) == ("unknown", errno.ENOENT)


def test_a_driver_whose_lists_never_end(tmp_path: Path) -> None:
    """Every list is cut off, and so is their sum; the device counts as a camera all the same."""
    questions = []

    def endless(_descriptor: int, request: int, answer: bytearray) -> None:
        questions.append(request)
        if request == v4l2.QUERY_CAPABILITY:
            v4l2.CAPABILITY.pack_into(answer, 0, b"x" * 16, b"\xff\x1b[31m", b"", 0, 1, 0)
        elif request == v4l2.LIST_SIZES:
            v4l2.SIZE.pack_into(answer, 0, 0, 0, 1, 640, 480, 0, 0, 0, 0)
        elif request == v4l2.LIST_INTERVALS:
            v4l2.INTERVAL.pack_into(answer, 0, 0, 0, 0, 0, 1, 1, 30, 0, 0, 0, 0)

    (tmp_path / "video0").touch()
    device = read_video_device(tmp_path / "video0", "/dev/video0", ioctl=endless)
    assert len(questions) == 1 + 4000
    assert device.kind == "camera"
    assert "\x1b" not in device.card
    assert max(len(one.rates) for one in device.formats[0].sizes) == 32


def test_intervals_that_are_no_rates(tmp_path: Path) -> None:
    """Zero numerators and denominators, and a range given the wrong way around, do no harm."""
    intervals = [(0, 30, 0, 0, 0, 0), (1, 0, 0, 0, 0, 0)]

    def odd(_descriptor: int, request: int, answer: bytearray) -> None:
        index = int.from_bytes(answer[:4], "little")
        if request == v4l2.QUERY_CAPABILITY:
            v4l2.CAPABILITY.pack_into(answer, 0, b"d", b"c", b"b", 0, 1, 0)
        elif request != v4l2.LIST_INTERVALS and index > 0:
            raise OSError(errno.EINVAL, "end")
        elif request == v4l2.LIST_SIZES:
            v4l2.SIZE.pack_into(answer, 0, 0, 0, 1, 640, 480, 0, 0, 0, 0)
        elif request == v4l2.LIST_INTERVALS:
            kind, numbers = (1, intervals[index]) if index < len(intervals) else (2, (1, 5, 1, 25, 0, 0))
            v4l2.INTERVAL.pack_into(answer, 0, 0, 0, 0, 0, kind, *numbers)

    (tmp_path / "video0").touch()
    device = read_video_device(tmp_path / "video0", "/dev/video0", ioctl=odd)
    assert device.formats[0].sizes[0].rates == (FrameRates(5, 25),)


def test_a_device_that_fails_halfway(tmp_path: Path) -> None:
    """A camera that is unplugged while it is asked: the reason is kept, the descriptor is closed."""

    def gone(_descriptor: int, request: int, _answer: bytearray) -> None:
        raise OSError(errno.ENODEV if request == v4l2.QUERY_CAPABILITY else errno.EIO, "gone")

    (tmp_path / "video0").touch()
    before = open_descriptors()
    device = read_video_device(tmp_path / "video0", "/dev/video0", ioctl=gone)
    assert (device.kind, device.error) == ("unknown", "No such device")
    assert open_descriptors() == before


def test_sizes_are_shortened() -> None:
    """The largest come first, a size of two formats is named once with its highest rate."""
    sizes = [
        FrameSizes((w, h), (w, h), rates=(FrameRates(rate, rate),))
        for w, h, rate in ((320, 240, 30), (640, 480, 15), (640, 480, 30), (1280, 720, 10))
    ]
    assert sizes_text(sizes, 2) == "1280x720 at 10, 640x480 at 30 and 1 more"
    assert sizes_text([]) == ""
