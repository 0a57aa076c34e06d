"""Reasons why a camera cannot be opened, from its device file and its answers to V4L2 requests."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rkdeploy.device.cameras.camera_mode import is_readable
from rkdeploy.device.cameras.v4l2 import Ioctl, ask_by_ioctl, read_video_device
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.cameras.video_device import NodeKind, VideoDevice

_MOST_NODES: Final = 64
_SHOWN_NODES: Final = 12
_GIVES: Final[dict[NodeKind, str]] = {
    "metadata": "gives metadata, not pictures",
    "codec": "is a codec or scaler, not a camera",
    "output": "is an output, not a camera",
    "other": "gives no pictures",
    "camera": "lists no pixel format",
}


def camera_error(number: int, sysroot: Path = Path("/"), ioctl: Ioctl = ask_by_ioctl) -> SourceError:
    """The error that explains why camera `number` cannot be opened, from its device file.

    Args:
        number: N of /dev/videoN.
        sysroot: folder that contains dev and proc.
        ioctl: sends requests to the devices.
    """
    name = f"/dev/video{number}"
    device = sysroot / "dev" / f"video{number}"
    present = _present(sysroot)
    if not present:
        return SourceError(
            f"Camera {number} cannot be opened: there is no camera device (no /dev/video*).",
            "Is it plugged in? See `dmesg | tail`. In a container, pass the device in (docker run --device "
            f"{name}). A network camera is given by its address: rtsp://...",
        )
    if device.name not in present:
        listed = ", ".join(f"/dev/{one}" for one in present[:_SHOWN_NODES])
        return SourceError(
            f'Camera {number} cannot be opened: there is no "{name}".',
            f"There are: {listed}. {_cameras_text(_cameras(sysroot, ioctl))}",
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
    return _unreadable(read_video_device(device, name, ioctl=ioctl), number, sysroot, ioctl)


def wrong_node_error(
    device: VideoDevice, number: int, sysroot: Path = Path("/"), ioctl: Ioctl = ask_by_ioctl
) -> SourceError:
    """The error for a node that does not give pictures; it names the node of the same card that does.

    Args:
        device: answers of /dev/videoN.
        number: N.
        sysroot: folder that contains dev.
        ioctl: sends requests to the devices.
    """
    cameras = _cameras(sysroot, ioctl)
    named = f' ("{device.card}")' if device.card else ""
    return SourceError(
        f'Camera {number} cannot be opened: "{device.path}"{named} {_GIVES.get(device.kind, _GIVES["other"])}.',
        _cameras_text([one for one in cameras if one.is_of_same_card(device)] or cameras),
    )


def _unreadable(device: VideoDevice, number: int, sysroot: Path, ioctl: Ioctl) -> SourceError:
    if not device.gives_pictures:
        return wrong_node_error(device, number, sysroot, ioctl)
    others = [one for one in _cameras(sysroot, ioctl) if one.path != device.path and one.is_of_same_card(device)]
    return SourceError(
        f'Camera {number} cannot be opened: "{device.path}" ("{device.card}") offers '
        f"{', '.join(one.fourcc for one in device.formats)}, and OpenCV cannot read it.",
        "NV12, UYVY, YUYV or MJPG are needed. " + (_cameras_text(others) if others else "See `dmesg | tail`."),
    )


def _present(sysroot: Path) -> list[str]:
    """Names of the video nodes, in the order of their numbers."""
    names = [path.name for path in (sysroot / "dev").glob("video*") if path.name[5:].isdecimal()]
    return sorted(names, key=lambda name: int(name[5:]))


def _cameras(sysroot: Path, ioctl: Ioctl) -> list[VideoDevice]:
    """The nodes whose pictures can be read; a board has more that give a sensor's raw data."""
    names = _present(sysroot)[:_MOST_NODES]
    devices = [read_video_device(sysroot / "dev" / name, f"/dev/{name}", ioctl=ioctl) for name in names]
    return [one for one in devices if is_readable(one)]


def _cameras_text(cameras: Sequence[VideoDevice]) -> str:
    if not cameras:
        return "No /dev/video* that this user may open gives pictures: see `rkdeploy doctor` and `dmesg | tail`."
    listed = ", ".join(f"{one.path} ({one.card})" for one in cameras[:_SHOWN_NODES])
    return f"Pictures come from {listed}."


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
