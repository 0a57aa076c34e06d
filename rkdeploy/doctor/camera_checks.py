"""Checks of /dev/video*: which nodes are cameras, what they offer, and which this user may not open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.device.cameras.camera_mode import is_readable
from rkdeploy.doctor.finding import Finding
from rkdeploy.doctor.node_access import may_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.cameras.video_device import NodeKind, VideoDevice
    from rkdeploy.doctor.system import Node, System

_SHOWN_NODES: Final = 12
_SHOWN_FORMATS: Final = 6
_NO_PICTURES: Final[dict[NodeKind, str]] = {
    "metadata": "metadata",
    "codec": "codec or scaler",
    "output": "output",
    "other": "neither camera nor codec",
    "camera": "lists no format",
}


def check_cameras(system: System) -> list[Finding]:
    """Findings about the video nodes: one for each camera, one for the other nodes, one for closed nodes."""
    if not system.cameras:
        return [Finding("cameras", "ok", "no /dev/video*; files and network streams do not need one")]
    devices = {device.path: device for device in system.video_devices}
    answered = [one for one in devices.values() if one.kind != "unknown"]
    unanswered = [node for node in system.cameras if node.path not in {one.path for one in answered}]
    closed = [node for node in unanswered if not may_use(node, system.user)]  # an ACL may open more than the mode says
    silent = [node for node in unanswered if node not in closed]
    found = [_camera(device, answered) for device in answered if is_readable(device)]
    found += _others([device for device in answered if not is_readable(device)], answered)
    if silent:
        listed = _listed([_named(node, devices.get(node.path)) for node in silent])
        found.append(Finding("cameras", "ok" if not answered else "note", listed))
    return found + _closed(closed, system)


def _camera(device: VideoDevice, answered: Sequence[VideoDevice]) -> Finding:
    shown = [str(one) for one in device.formats[:_SHOWN_FORMATS]]
    more = len(device.formats) - len(shown)
    formats = "; ".join(shown) + (f"; and {more} more formats" if more > 0 else "")
    planes = ", multiplanar" if all(one.multiplanar for one in device.formats) else ""
    twins = [one.path for one in answered if one is not device and is_readable(one) and one.is_of_same_card(device)]
    also = f" (pictures of the same card also: {_listed(twins)})" if twins else ""
    return Finding("camera", "ok", f"{device.path}: {device.card} ({device.driver}{planes}): {formats}{also}")


def _others(devices: Sequence[VideoDevice], answered: Sequence[VideoDevice]) -> list[Finding]:
    if not devices:
        return []
    texts = []
    for device in devices:
        pictures = [one.path for one in answered if is_readable(one) and one.is_of_same_card(device)]
        instead = f"; pictures: {_listed(pictures)}" if pictures else ""
        texts.append(f"{device.path} ({device.card}: {_instead_of_pictures(device)}{instead})")
    return [Finding("cameras", "ok", f"without pictures: {_listed(texts)}")]


def _instead_of_pictures(device: VideoDevice) -> str:
    if device.formats:
        return f"{_listed([one.fourcc for one in device.formats])} only"
    return _NO_PICTURES.get(device.kind, device.kind)


def _closed(closed: Sequence[Node], system: System) -> list[Finding]:
    if not closed:
        return []
    first = closed[0]
    return [
        Finding(
            "cameras",
            "warning",
            f'user "{system.user.name}" may not use {len(closed)} of {len(system.cameras)}: '
            f"{_listed([_named(node, None) for node in closed])}",
            f"membership in the group {first.group}",
            f"sudo usermod -aG {first.group} {system.user.name}    (then log in again)",
        )
    ]


def _named(node: Node, device: VideoDevice | None) -> str:
    facts = ": ".join(filter(None, (node.label, device.error if device is not None else "")))
    return f"{node.path} ({facts})" if facts else node.path


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN_NODES
    return ", ".join(texts[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")
