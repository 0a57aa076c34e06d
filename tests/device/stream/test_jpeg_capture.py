"""Motion JPEG of a camera through PyAV, on a stand-in for OpenCV's capture, which hands over compressed pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.stream.sources import camera as camera_module
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.decoded_picture import DecodedPicture
from rkdeploy.device.stream.sources.decoders import decoders_of
from rkdeploy.device.stream.sources.jpeg_capture import open_jpeg_capture
from rkdeploy.device.stream.sources.video_capture import VIDEO_VARIABLE
from rkdeploy.images.fit import Letterbox
from tests.device.cameras.v4l2_stand_in import KERNEL_DEVICES, StandInKernel
from tests.device.stream.test_camera import RecordedCapture

pytest.importorskip("av")

_NOISE = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)
SHADES = np.asarray(cv2.resize(_NOISE, (192, 108), interpolation=cv2.INTER_CUBIC), np.uint8)


def jpeg(quality: int = 95) -> bytes:
    """A picture as cameras send it: 4:2:2, full range."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]
    return cv2.imencode(".jpg", SHADES, options)[1].tobytes()


class JpegCamera(RecordedCapture):
    """Rows of bytes, followed by what is left of the buffer, as OpenCV gives them without a conversion."""

    def __init__(self, pictures: list[bytes], *, hands_over: bool = True) -> None:
        super().__init__((192, 108))
        self._pictures, self._hands_over = pictures, hands_over

    def set(self, key: int, value: float) -> bool:
        return super().set(key, value) and (key != cv2.CAP_PROP_CONVERT_RGB or self._hands_over)

    def read(self) -> tuple[bool, Any]:
        if not self._pictures:
            return False, None
        data = self._pictures.pop(0)
        if not self._hands_over:
            return True, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return True, np.frombuffer(data + bytes(64 if data else 0), np.uint8).reshape(1, -1)


def opened(camera: JpegCamera) -> Any:
    """The capture with its decoder."""
    return open_jpeg_capture(camera, lambda _text: None, hardware=True)  # type: ignore[arg-type]  # a stand-in


def test_a_picture_stays_as_it_was_decoded() -> None:
    """The whole picture is OpenCV's up to the two decoders' rounding, and the network's input comes from the planes."""
    capture = opened(JpegCamera([jpeg(), jpeg()]))
    assert capture.decoder == "mjpeg in software"
    for _ in range(2):
        got, picture = capture.read()
        assert got
        assert isinstance(picture, DecodedPicture)
        assert picture.size_hw == (108, 192)
        fit = Letterbox(InputSpec("images", 64, 64))
        boxed = picture.fitted(fit).image.copy()
        assert picture._bgr is None
        assert np.abs(boxed.astype(int) - fit(picture.bgr()).image).max() <= 2
        theirs = cv2.imdecode(np.frombuffer(jpeg(), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(picture.bgr().astype(int) - theirs).mean() < 2
    assert capture.read() == (False, None)


def test_damaged_pictures_are_passed_over() -> None:
    """Empty and broken ones give no frame; a camera that sends nothing else is lost."""
    capture = opened(JpegCamera([b"", b"no picture", jpeg()[:20], jpeg()]))
    got, picture = capture.read()
    assert got
    assert picture.size_hw == (108, 192)
    assert opened(JpegCamera([b"no picture"] * 60)).read() == (False, None)


def test_a_camera_that_does_not_hand_them_over_is_read_as_before() -> None:
    """There is nothing to decode then."""
    assert opened(JpegCamera([jpeg()], hands_over=False)) is None


@pytest.mark.parametrize(("package", "decoder"), [("software", "mjpeg in software"), ("opencv", "")])
def test_a_camera_says_its_decoder(package: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PyAV the frames are decoded pictures; by OpenCV nothing changes and nothing is said."""
    monkeypatch.setenv(VIDEO_VARIABLE, package)
    kernel = StandInKernel(KERNEL_DEVICES)
    kernel.make_nodes(tmp_path)
    capture = JpegCamera([jpeg()], hands_over=package == "software")
    monkeypatch.setattr(camera_module, "open_quietly", lambda *_: capture)
    source = Camera(0, sysroot=tmp_path, ioctl=kernel)
    with source as frames:
        assert source.decoder.endswith(decoder)
        assert decoders_of(source) == ((source.decoder,) if decoder else ())
        frame = next(frames)
        assert frame.size_hw == (108, 192)
        assert isinstance(frame.content, DecodedPicture) == bool(decoder)
