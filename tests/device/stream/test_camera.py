"""Cameras on a stand-in for V4L2: the format that is requested, the right node, and sizes that a camera lacks."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from rkdeploy.device.cameras.v4l2 import Ioctl
from rkdeploy.device.stream.sources import camera as camera_module
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.camera_errors import camera_error
from rkdeploy.errors import SourceError
from tests.device.cameras.v4l2_stand_in import (
    KERNEL_DEVICES,
    STATISTICS,
    StandInKernel,
)


class RecordedCapture:
    """A capture that keeps what is set, and gives pictures of one size."""

    def __init__(self, given_wh: tuple[int, int], *, opened: bool = True) -> None:
        self.values: dict[int, float] = {}
        self._given = {cv2.CAP_PROP_FRAME_WIDTH: given_wh[0], cv2.CAP_PROP_FRAME_HEIGHT: given_wh[1]}
        self._opened = opened

    def isOpened(self) -> bool:
        return self._opened

    def set(self, key: int, value: float) -> bool:
        self.values[key] = value
        return True

    def get(self, key: int) -> float:
        return self._given.get(key, 30.0)

    def release(self) -> None:
        pass


@pytest.fixture
def kernel(tmp_path: Path) -> StandInKernel:
    stand_in = StandInKernel(KERNEL_DEVICES)
    stand_in.make_nodes(tmp_path)
    return stand_in


def opened(
    capture: RecordedCapture, monkeypatch: pytest.MonkeyPatch, root: Path, ioctl: Ioctl, number: int,
    size_wh: tuple[int, int] | None = None, rate: float | None = None,
) -> list[str]:  # fmt: skip
    """Sentences that a camera gives on opening."""
    monkeypatch.setattr(camera_module, "open_quietly", lambda *_: capture)
    told: list[str] = []
    with Camera(number, size_wh=size_wh, frames_per_second=rate, notify=told.append, sysroot=root, ioctl=ioctl):
        return told


@pytest.mark.parametrize(
    ("number", "size_wh", "rate", "fourcc"),
    [
        (0, (1280, 720), None, "MJPG"),
        (0, (1280, 720), 10.0, "YUYV"),
        (0, None, None, "MJPG"),
        (11, (1920, 1080), 30.0, "NV12"),
    ],
)
def test_the_format_is_chosen(
    number: int, size_wh: tuple[int, int] | None, rate: float | None, fourcc: str,
    kernel: StandInKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The format comes first, then size and rate, and a camera that gives what was asked for says nothing.

    Motion JPEG is asked for as it is, where PyAV decodes it.
    """
    pytest.importorskip("av")
    capture = RecordedCapture(size_wh or (640, 480))
    assert opened(capture, monkeypatch, tmp_path, kernel, number, size_wh, rate) == []
    keys = [cv2.CAP_PROP_FOURCC]
    keys += [cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT] if size_wh else []
    keys += [cv2.CAP_PROP_FPS] if rate else []
    keys += [cv2.CAP_PROP_CONVERT_RGB] if fourcc == "MJPG" else []
    assert list(capture.values) == keys
    assert capture.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*fourcc)


def test_a_size_that_the_camera_lacks(kernel: StandInKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes that it has are in the message."""
    told = opened(RecordedCapture((1920, 1080)), monkeypatch, tmp_path, kernel, 0, (1600, 1200))
    (only,) = told
    assert only == (
        "camera 0 gives 1920x1080, not 1600x1200. Its sizes and highest rates: 1920x1080 at 30, 1280x720 at 60, "
        "640x480 at 30, 320x240 at 30."
    )


def test_a_rate_that_the_camera_lacks(kernel: StandInKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest rate at that size is named."""
    (told,) = opened(RecordedCapture((1920, 1080)), monkeypatch, tmp_path, kernel, 0, (1920, 1080), 60.0)
    assert told.startswith("camera 0 offers 30 frames per second at 1920x1080, not 60. Its sizes")


@pytest.mark.parametrize(
    ("number", "says", "hint"),
    [
        (1, '"/dev/video1" ("HD Webcam") gives metadata, not pictures', "Pictures come from /dev/video0 (HD Webcam)."),
        (18, '("rkisp-statistics") gives metadata', "Pictures come from /dev/video11 (rkisp_mainpath)."),
        (40, "is a codec or scaler", "Pictures come from /dev/video0 (HD Webcam), /dev/video11 (rkisp_mainpath)."),
    ],
)
def test_the_wrong_node(number: int, says: str, hint: str, kernel: StandInKernel, tmp_path: Path) -> None:
    """The node of the same card that gives pictures is named; without one, all cameras are."""
    with pytest.raises(SourceError) as caught, Camera(number, sysroot=tmp_path, ioctl=kernel):
        pass
    assert says in caught.value.message
    assert caught.value.hint == hint


def test_a_number_that_does_not_exist(kernel: StandInKernel, tmp_path: Path) -> None:
    """Among the nodes that exist, those with pictures are named."""
    hint = camera_error(5, tmp_path, kernel).hint
    assert hint.startswith("There are: /dev/video0, /dev/video1, /dev/video11,")
    assert hint.endswith("Pictures come from /dev/video0 (HD Webcam), /dev/video11 (rkisp_mainpath).")


def test_no_camera_among_the_nodes(tmp_path: Path) -> None:
    """The message does not invent a camera if no node gives pictures."""
    kernel = StandInKernel({"video0": STATISTICS})
    kernel.make_nodes(tmp_path)
    with pytest.raises(SourceError) as caught, Camera(0, sysroot=tmp_path, ioctl=kernel):
        pass
    assert caught.value.hint.startswith("No /dev/video* that this user may open gives pictures")


def test_a_format_that_cannot_be_read(kernel: StandInKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with raw sensor data only: its format is named, and the node of the card that is processed."""
    with pytest.raises(SourceError) as caught:
        opened(RecordedCapture((0, 0), opened=False), monkeypatch, tmp_path, kernel, 13)
    assert '("rkisp_rawwr0") offers BG10, and OpenCV cannot read it' in caught.value.message
    assert caught.value.hint == "NV12, UYVY, YUYV or MJPG are needed. Pictures come from /dev/video11 (rkisp_mainpath)."
