"""A folder that results are written into, one or more files per frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import make_folder
from rkdeploy.system.partial_file import clear_partials

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on


class FolderSink:
    """Base of the sinks that fill a folder: creates it, and keeps source images from being overwritten.

    Args:
        folder: created if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        make_folder(self._folder)
        clear_partials(self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to do: every file is already complete."""

    def _refuse_folder_of(self, source: str) -> None:
        """Check that a source image does not lie in the folder: a result of its name would replace it.

        Raises:
            RkdeployError: when it does.
        """
        if Path(source).parent.resolve() == self._folder.resolve():
            raise RkdeployError(
                f'"{self._folder}" is the folder of the source image "{source}", which would be overwritten.',
                "Save into another folder.",
            )
