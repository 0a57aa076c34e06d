"""A file while it is written: hidden beside its target, and locked, so that what a killed run left can be told from it.

The lock (flock) ends with the process, however it ends.  So a partial file that nobody holds belongs to no living run,
and the next one that writes there removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_NAME = re.compile(r"\.(?P<stem>.*)\.[0-9a-f]{8}\.partial(?P<suffix>(?:\.[^.]*)?)", re.DOTALL)
_MAX_STEM_BYTES = 200  # of 255 that a file's name may have


class PartialFile:
    """A fresh file, made and locked; it becomes its target or goes.

    As a context manager it becomes its target when the context is left, and goes where that is by an exception.

    Args:
        target: what it is written for; it has the same ending (writers choose a format by it).

    Attributes:
        path: where to write.

    Raises:
        OSError: when it cannot be made.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        while True:
            self.path = target.with_name(f".{_short_stem(target)}.{secrets.token_hex(4)}.partial{target.suffix}")
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            if _lock(self._descriptor) is not False and self._is_there():
                return
            os.close(self._descriptor)  # another run took it for left over, in the moment before it was locked

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def commit(self) -> None:
        """Give it its target's name.

        Raises:
            OSError: when that fails; it is gone then.
        """
        try:
            self.path.replace(self._target)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove it, if it is still there."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False


def clear_partials(folder: Path, target: Path | None = None) -> None:
    """Remove what killed runs left in a folder: partial files that are this user's and that no living process holds.

    Args:
        folder: where they were written.
        target: only those that were to become this one; None for all.
    """
    try:
        names = [name for name in os.listdir(folder) if ".partial" in name]  # noqa: PTH208  (a folder of any size)
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        mine = target is None or (found and (found["stem"], found["suffix"]) == (_short_stem(target), target.suffix))
        if found and mine:
            with suppress(OSError):
                _remove_if_left(folder / name)


def _remove_if_left(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and _lock(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock could be had; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _short_stem(target: Path) -> str:
    return os.fsdecode(os.fsencode(target.stem)[:_MAX_STEM_BYTES])
