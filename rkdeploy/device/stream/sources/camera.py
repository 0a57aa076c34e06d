"""Local cameras: V4L2 (USB, and the board's own camera drivers), through OpenCV."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from rkdeploy.device.stream.sources.live import RECONNECT, LiveCapture, open_quietly
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkdeploy.device.stream.backoff import Backoff


class Camera(LiveCapture):
    """A camera by its number: `/dev/videoN`.

    Motion JPEG is requested, because uncompressed pictures of 1280x720 and above exceed USB 2's bandwidth at 30 frames
    per second; a camera without it uses its own format.

    Args:
        number: N of /dev/videoN.
        size_wh: width and height in pixels to request; None leaves the camera's default.
        frames_per_second: rate to request; None leaves the camera's default.
        backoff, notify: as for `LiveCapture`.  `notify` is also called when the camera delivers another size.
        sysroot: folder of the /dev and /proc that are examined when it cannot be opened.
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
    ) -> None:
        super().__init__(f"camera {number}", self._open_camera, backoff=backoff, notify=notify)
        self.number = number
        self._size_wh = size_wh
        self._asked_rate = frames_per_second
        self._sysroot = sysroot

    def _open_camera(self) -> cv2.VideoCapture:
        wanted = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")]
        if self._size_wh is not None:
            wanted += [cv2.CAP_PROP_FRAME_WIDTH, self._size_wh[0], cv2.CAP_PROP_FRAME_HEIGHT, self._size_wh[1]]
        if self._asked_rate is not None:
            wanted += [cv2.CAP_PROP_FPS, round(self._asked_rate)]
        # Set one by one after opening: given on opening, a property that the camera lacks makes it fail.
        capture = open_quietly(self.number, cv2.CAP_V4L2, [])
        if not capture.isOpened():
            capture.release()
            raise camera_error(self.number, self._sysroot)
        for key, value in zip(wanted[::2], wanted[1::2], strict=True):
            capture.set(key, value)
        return capture

    def _opened(self, capture: cv2.VideoCapture) -> None:
        given = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        if self._size_wh is not None and given != self._size_wh:
            asked = f"{self._size_wh[0]}x{self._size_wh[1]}"
            self._notify(
                f"{self.text} gives {given[0]}x{given[1]}, not {asked}. Its sizes: "
                f"`v4l2-ctl -d /dev/video{self.number} --list-formats-ext`."
            )


def camera_error(number: int, sysroot: Path = Path("/")) -> SourceError:
    """The error that explains why camera `number` cannot be opened, from its device file.

    Args:
        number: N of /dev/videoN.
        sysroot: folder that contains dev and proc.
    """
    name = f"/dev/video{number}"
    device = sysroot / "dev" / f"video{number}"
    present = sorted(
        (path.name for path in (sysroot / "dev").glob("video*") if path.name[5:].isdecimal()), key=lambda n: int(n[5:])
    )
    if not present:
        return SourceError(
            f"Camera {number} cannot be opened: there is no camera device (no /dev/video*).",
            "Is it plugged in? See `dmesg | tail`. In a container, pass the device in (docker run --device "
            f"{name}). A network camera is given by its address: rtsp://...",
        )
    if device.name not in present:
        listed = ", ".join(f"/dev/{one}" for one in present[:12])
        return SourceError(
            f'Camera {number} cannot be opened: there is no "{name}".',
            f"There are: {listed}. `v4l2-ctl --list-devices` shows which is which.",
        )
    code = _open_error(device)
    if code in (errno.EACCES, errno.EPERM):
        return SourceError(
            f'Camera {number} cannot be opened: no permission for "{name}".',
            "Join the group that owns it, usually video: sudo usermod -aG video $USER, then log in again.",
        )
    holders = _holders(f"/dev/{device.name}", sysroot / "proc")
    if holders or code == errno.EBUSY:
        who = f" by {', '.join(holders)}" if holders else ""
        return SourceError(f'Camera {number} cannot be opened: "{name}" is in use{who}.', "End the other program.")
    if code:
        return SourceError(f'Camera {number} cannot be opened: "{name}": {os.strerror(code)}.', "See `dmesg | tail`.")
    return SourceError(
        f'Camera {number} cannot be opened: "{name}" gives no pictures.',
        "Cameras have several devices, and only one gives pictures; decoders and the ISP have some too. "
        "`v4l2-ctl --list-devices` shows which is which.",
    )


def _open_error(device: Path) -> int:
    """The errno of opening a device for reading and writing, 0 when that works."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _holders(device: str, proc: Path) -> list[str]:
    """Programs that have a device open, as far as this user may see: `ffmpeg (process 812)`."""
    found = []
    for process in sorted(proc.glob("[0-9]*")):
        if process.name == str(os.getpid()):
            continue
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
            if device in links:
                found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:  # another user's process, or one that has just ended
            continue
    return found
