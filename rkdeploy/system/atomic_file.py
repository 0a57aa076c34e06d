"""Files that appear under their name only when they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError
from rkdeploy.system.partial_file import PartialFile, clear_partials

if TYPE_CHECKING:
    from pathlib import Path


def followed(target: Path) -> Path:
    """The path that a link points to: the link stays, and its target is written."""
    return target.resolve() if target.is_symlink() else target


def is_device(target: Path) -> bool:
    """True for a device, pipe or socket, such as /dev/null, which is written into and never replaced."""
    return target.exists() and not target.is_file() and not target.is_dir()


def make_folder(folder: Path) -> None:
    """Create a folder for results, with its parents.

    Raises:
        RkdeployError: when that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RkdeployError(f'Folder "{folder}" cannot be created: {error.strerror}.') from error


def refuse_folder(target: Path) -> None:
    """Check that the path of a file to write is not a folder.

    Raises:
        RkdeployError: when it is.
    """
    if target.is_dir():
        raise RkdeployError(f'"{target}" is a folder, expected the name of a file to write.')


def write_atomically(target: Path, data: bytes, *, clear: bool = True) -> None:
    """Write a whole file: under a temporary name next to it first, then renamed.  A device is written into directly.

    Args:
        target: the file.
        data: its whole content.
        clear: remove the leftovers of killed runs for this file; when writing many files, clear the folder once instead
            (`clear_partials`).

    Raises:
        RkdeployError: when it cannot be written; nothing is left behind then.
    """
    target = followed(target)
    refuse_folder(target)
    try:
        if is_device(target):
            target.write_bytes(data)
            return
        if clear:
            clear_partials(target.parent, target)
        with PartialFile(target) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise RkdeployError(f'"{target}" cannot be written: {error.strerror}.') from error
