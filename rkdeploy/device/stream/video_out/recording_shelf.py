"""The recordings in a folder, whose oldest files make room for new ones."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.device.stream.video_out.keep_limits import KeepLimits

RECORDING_NAME: Final = re.compile(r"(?P<number>[0-9]{6,9})_[0-9]{8}-[0-9]{6}(?:_[\w.-]{1,80})?\.(?:mp4|jpg)")
"""Names of recordings; no other file is ever removed."""
_MOST_LISTED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Recording:
    path: Path
    size: int
    written_s: float


class RecordingShelf:
    """Keeps the recordings of a folder and its subfolders within limits; used by the threads of several streams.

    Args:
        folder: of the recordings; those of earlier runs count.
        limits: of all of them together; None removes nothing.
    """

    def __init__(self, folder: Path, limits: KeepLimits | None) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._writing: set[Path] = set()
        found = sorted(_recordings(folder), key=lambda one: one.written_s) if limits is not None else []
        self._finished = deque(found)
        self._bytes = sum(one.size for one in found)

    def begin(self, path: Path) -> None:
        """Count a file that is being written; it is not removed."""
        with self._lock:
            self._writing.add(path)

    def finish(self, path: Path) -> None:
        """Count a file that is complete."""
        recording = _recording(path)
        with self._lock:
            self._writing.discard(path)
            if self._limits is None or recording is None:
                return
            self._finished.append(recording)
            self._bytes += recording.size

    def trim(self) -> None:
        """Remove the oldest files until the limits hold."""
        if self._limits is None:
            return
        size, age = self._limits.size_bytes, self._limits.age_s
        with self._lock:
            growing = sum(one.size for one in map(_recording, self._writing) if one is not None)
            oldest_s = 0.0 if age is None else time.time() - age
            while self._finished and (
                (size is not None and self._bytes + growing > size) or self._finished[0].written_s < oldest_s
            ):
                self._remove_oldest()

    def make_room(self) -> bool:
        """Remove the oldest file, on a full disk; False where files are kept without a limit, or there is none."""
        with self._lock:
            if self._limits is None or not self._finished:
                return False
            self._remove_oldest()
            return True

    def _remove_oldest(self) -> None:
        oldest = self._finished.popleft()
        self._bytes -= oldest.size
        try:
            oldest.path.unlink(missing_ok=True)
        except OSError:
            return  # it is not ours to remove, and is not counted any more


def next_number(folder: Path) -> int:
    """The number after the highest one of the recordings in a folder; 1 in an empty one."""
    numbers = (RECORDING_NAME.fullmatch(path.name) for path in _files(folder))
    return max((int(found["number"]) for found in numbers if found), default=0) + 1


def _recordings(folder: Path) -> Iterator[_Recording]:
    for place in (folder, *(one for one in _files(folder) if one.is_dir() and not one.is_symlink())):
        for path in _files(place):
            found = _recording(path) if RECORDING_NAME.fullmatch(path.name) else None
            if found is not None:
                yield found


def _files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)[:_MOST_LISTED]]  # noqa: PTH208  (a folder of any size)
    except OSError:
        return []


def _recording(path: Path) -> _Recording | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Recording(path, status.st_size, status.st_mtime)
