"""Files that appear under their name only when they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError
from rkdeploy.system.partial_file import PartialFile, clear_partials

if TYPE_CHECKING:
    from pathlib import Path


def followed(target: Path) -> Path:
    """Where a link leads: the link stays, and what it names is written."""
    return target.resolve() if target.is_symlink() else target


def is_device(target: Path) -> bool:
    """Whether something stands there that is written into and never replaced: /dev/null, a pipe, a socket."""
    return target.exists() and not target.is_file() and not target.is_dir()


def make_folder(folder: Path) -> None:
    """Make a folder for results, with those above it.

    Raises:
        RkdeployError: when that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RkdeployError(f'Folder "{folder}" cannot be made: {error.strerror}.') from error


def refuse_folder(target: Path) -> None:
    """Raise an RkdeployError when a folder stands where a file is to be written."""
    if target.is_dir():
        raise RkdeployError(f'"{target}" is a folder, expected the name of a file to write.')


def write_atomically(target: Path, data: bytes, *, clear: bool = True) -> None:
    """Write a whole file: beside it first, then renamed over it.  A device is written into as it is.

    Args:
        target: the file.
        data: all that it shall hold.
        clear: remove what killed runs left of this file; for one of many, look through the folder once instead
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
