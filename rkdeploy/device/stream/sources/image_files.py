"""Frames from image files: a single file, a folder, a glob, a list file."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.device.stream.frames import Frame
from rkdeploy.errors import SourceError
from rkdeploy.images.file import IMAGE_SUFFIXES, is_image_name, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})


class ImageFiles:
    """Image files in a fixed order, each one frame.

    Args:
        text: the user's text.
        paths: the files; read one by one, never all at once.
        on_unreadable: called with the error of an image that cannot be read, which is then left out (its index too).
            None raises it.
    """

    def __init__(
        self, text: str, paths: Sequence[Path], on_unreadable: Callable[[SourceError], None] | None = None
    ) -> None:
        self.text = text
        self.paths = tuple(paths)
        self.frame_count: int | None = len(self.paths)
        self.frames_per_second: float | None = None
        self.live = False
        self.reconnects = 0
        self._on_unreadable = on_unreadable

    def __enter__(self) -> Iterator[Frame]:
        return self._frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: no file stays open between images."""

    def stop(self) -> None:
        """Nothing to stop: files never block."""

    def _frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path)
            except SourceError as error:
                if self._on_unreadable is None:
                    raise
                self._on_unreadable(error)
                continue
            yield Frame(image, path.as_posix(), index)


def images_of_folder(folder: Path) -> tuple[Path, ...]:
    """Image files directly in a folder, sorted by name.

    Raises:
        SourceError: when it cannot be listed or has none.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise SourceError(f'Folder "{folder}" cannot be listed: {error.strerror}.') from error
    paths = sorted((path for path in entries if is_image_name(path.name) and not path.is_dir()), key=lambda p: p.name)
    if not paths:
        below = any(path.is_dir() for path in entries)
        raise SourceError(
            f'Folder "{folder}" holds no images ({len(entries)} other entries), expected {_suffixes()}.',
            f'For the folders below it give "{folder}/**/*.jpg" in quotes.' if below else "",
        )
    return tuple(paths)


def images_of_glob(pattern: str) -> tuple[Path, ...]:
    """Image files that match a pattern (`**` for all folders below), sorted by POSIX path.

    Raises:
        SourceError: when none matches.
    """
    found = [Path(match) for match in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - takes absolute patterns too
    paths = sorted((path for path in found if is_image_name(path.name) and not path.is_dir()), key=Path.as_posix)
    if not paths:
        matched = f"matches {len(found)} entries, none of them an image" if found else "matches nothing"
        raise SourceError(f'Pattern "{pattern}" {matched} (in {Path.cwd()}), expected {_suffixes()}.')
    return tuple(paths)


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
