"""Permissions of device nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.doctor.system import Node, User


def may_use(node: Node, user: User) -> bool:
    """True if a user may read and write a device node, by its permission bits."""
    if user.uid == 0:
        return True
    if user.uid == node.uid:
        return node.mode & 0o600 == 0o600
    if node.gid in user.gids:
        return node.mode & 0o060 == 0o060
    return node.mode & 0o006 == 0o006
