"""A folder of recordings in which a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.stream.video_out.fragmented_mp4 import cut_to_whole_fragments
from rkdeploy.device.stream.video_out.recording_shelf import RECORDING_NAME, next_number
from rkdeploy.system.atomic_file import make_folder

if TYPE_CHECKING:
    from pathlib import Path


def resume_folder(folder: Path) -> int:
    """Create a folder, or finish the last video of a run that was killed in it.

    Returns:
        The number of the next recording.

    Raises:
        RkdeployError: when the folder cannot be created.
    """
    make_folder(folder)
    number = next_number(folder)
    for path in folder.iterdir():
        found = RECORDING_NAME.fullmatch(path.name)
        if found and int(found["number"]) == number - 1 and path.suffix == ".mp4":
            cut_to_whole_fragments(path)
    return number
