"""Local cameras: V4L2 (USB, and the board's own camera drivers), through OpenCV."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2

from rkdeploy.device.cameras.camera_mode import JPEG, READABLE, CameraMode, choose_mode
from rkdeploy.device.cameras.v4l2 import Ioctl, ask_by_ioctl, read_video_device
from rkdeploy.device.cameras.video_device import sizes_text
from rkdeploy.device.stream.sources.camera_errors import camera_error, wrong_node_error
from rkdeploy.device.stream.sources.live import RECONNECT, LiveCapture
from rkdeploy.device.stream.sources.video_capture import decoded_jpegs, decoder_of, open_quietly

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkdeploy.device.cameras.video_device import VideoDevice
    from rkdeploy.device.stream.backoff import Backoff
    from rkdeploy.device.stream.sources.video_capture import Capture

_LOG = logging.getLogger(__name__)

_SHOWN_SIZES: Final = 12
_SAME_RATE: Final = 0.02  # a request for 30 is met by 29.97


class Camera(LiveCapture):
    """A camera by its number: `/dev/videoN`.

    The device is asked what it offers, and the pixel format is chosen for the requested size and rate (`choose_mode`).

    Args:
        number: N of /dev/videoN.
        size_wh: width and height in pixels to request; None leaves OpenCV's default, 640x480.
        frames_per_second: rate to request; None leaves the camera's default.
        backoff, notify: as for `LiveCapture`.  `notify` is also called when the camera offers another size or rate.
        sysroot: folder of the /dev and /proc that are examined.
        ioctl: sends requests to the devices.

    Attributes:
        decoder: package and decoder of motion JPEG, for users; empty until it is open, and where OpenCV decodes.
    """

    def __init__(
        self,
        number: int,
        *,
        size_wh: tuple[int, int] | None = None,
        frames_per_second: float | None = None,
        backoff: Backoff = RECONNECT,
        notify: Callable[[str], None] | None = None,
        sysroot: Path = Path("/"),
        ioctl: Ioctl = ask_by_ioctl,
    ) -> None:
        super().__init__(f"camera {number}", self._open_camera, backoff=backoff, notify=notify)
        self.number = number
        self._size_wh = size_wh
        self._asked_rate = frames_per_second
        self._sysroot = sysroot
        self._ioctl = ioctl
        self.decoder = ""
        self._device: VideoDevice | None = None
        self._mode: CameraMode | None = None

    def _open_camera(self) -> Capture:
        node = self._sysroot / "dev" / f"video{self.number}"
        device = read_video_device(node, f"/dev/video{self.number}", self._size_wh, self._ioctl)
        if device.kind not in ("camera", "unknown"):
            raise wrong_node_error(device, self.number, self._sysroot, self._ioctl)
        self._device, self._mode = device, choose_mode(device, self._size_wh, self._asked_rate)
        chosen = "no format" if self._mode is None else self._mode.fourcc
        _LOG.debug("%s: %s is chosen from: %s", self.text, chosen, "; ".join(map(str, device.formats)))
        # Set one by one after opening: given on opening, a property that the camera lacks makes it fail.
        capture = open_quietly(self.number, cv2.CAP_V4L2, [])
        if not capture.isOpened():
            capture.release()
            raise camera_error(self.number, self._sysroot, self._ioctl)
        for key, value in self._wanted():
            capture.set(key, value)
        if self._mode is None or self._mode.fourcc not in JPEG:
            return capture
        return decoded_jpegs(capture, self._notify)

    def _wanted(self) -> list[tuple[int, float]]:
        """Properties to request: the pixel format first, because sizes and rates depend on it."""
        wanted: list[tuple[int, float]] = []
        if self._mode is not None:
            wanted.append((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._mode.fourcc)))
        if self._size_wh is not None:
            wanted += zip((cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), self._size_wh, strict=True)
        if self._asked_rate is not None:
            wanted.append((cv2.CAP_PROP_FPS, round(self._asked_rate)))
        return wanted

    def _opened(self, capture: Capture) -> None:
        self.decoder = decoder_of(capture) if hasattr(capture, "decoder") else ""
        given = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        if self._size_wh is not None and given != self._size_wh:
            asked = f"{self._size_wh[0]}x{self._size_wh[1]}"
            self._notify(f"{self.text} gives {given[0]}x{given[1]}, not {asked}. {self._sizes()}")
            return
        offered = None if self._mode is None else self._mode.rate
        if self._asked_rate is None or offered is None:
            return
        if abs(offered - self._asked_rate) > _SAME_RATE * self._asked_rate:
            self._notify(
                f"{self.text} offers {offered:.4g} frames per second at {given[0]}x{given[1]}, not "
                f"{self._asked_rate:.4g}. {self._sizes()}"
            )

    def _sizes(self) -> str:
        formats = () if self._device is None else self._device.formats
        listed = sizes_text([size for one in formats if one.fourcc in READABLE for size in one.sizes], _SHOWN_SIZES)
        return f"Its sizes and highest rates: {listed}." if listed else "Its driver does not list its sizes."
