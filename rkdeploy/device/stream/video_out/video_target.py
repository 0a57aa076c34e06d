"""The path of a video that is to be written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import is_device, make_folder, refuse_folder
from rkdeploy.system.partial_file import clear_partials

if TYPE_CHECKING:
    from pathlib import Path

FULL_DISK: Final = "Is the disk full? Free some space, or save into another folder."


def prepare_video_target(target: Path) -> None:
    """Create the folder of a video, and remove what killed runs left in it.

    Raises:
        RkdeployError: when the path does not end in `.mp4`, is a folder or device, or its folder cannot be written.
    """
    if target.suffix.lower() != ".mp4":
        raise RkdeployError(f'Video "{target}" ends in "{target.suffix}", expected ".mp4".')
    refuse_folder(target)
    if is_device(target):
        raise RkdeployError(f'Video "{target}" cannot be written: it is not a file.')
    make_folder(target.parent)
    if not os.access(target.parent, os.W_OK):
        raise RkdeployError(f'Folder "{target.parent}" is not writable.')
    clear_partials(target.parent)  # all of them: a live source's video has another name each time


def refuse_source(target: Path, source: Path) -> None:
    """Check that a video does not replace the one that is read.

    Raises:
        RkdeployError: when it would.
    """
    if source.resolve() == target.resolve():
        raise RkdeployError(
            f'"{target}" is the source itself, which would be overwritten.', "Save into another folder."
        )
