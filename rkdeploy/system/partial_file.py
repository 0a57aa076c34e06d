"""A file that is being written: hidden next to its target, and locked to distinguish it from a killed run's leftovers.

The lock (flock) ends with the process, however it ends.  So an unlocked partial file belongs to no living run,
and the next run that writes there removes it.
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
_MAX_STEM_BYTES = 200  # of the 255 bytes of a file name


class PartialFile:
    """A new file, created and locked, that is renamed to its target or removed.

    As a context manager it is renamed when the context is left, or removed if it is left by an exception.

    Args:
        target: final path; the partial file has the same suffix (writers choose a format by it).

    Attributes:
        path: path to write to.

    Raises:
        OSError: when it cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.path = hidden_path(target)
        self._descriptor = -1
        try:
            self._create()
        except OSError:
            raise
        except BaseException:  # an interrupt too: only this code knows the file yet
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            raise

    def _create(self) -> None:
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            if _lock(self._descriptor) is not False and self._is_there():
                return
            os.close(self._descriptor)  # another run removed it as a leftover before it was locked
            self.path = hidden_path(self._target)

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
        """Rename it to its target.

        Raises:
            OSError: when that fails; the file is removed then.
        """
        try:
            self.path.replace(self._target)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove it, if it still exists."""
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
    """Remove killed runs' leftovers in a folder: partial files of this user without a lock.

    Args:
        folder: folder to clear.
        target: only partial files of this target; None for all.
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
    """True if the lock was acquired, False if it is held; None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def hidden_path(target: Path) -> Path:
    """A new hidden name next to a file, as partial files have it."""
    return target.with_name(f".{_short_stem(target)}.{secrets.token_hex(4)}.partial{target.suffix}")


def _short_stem(target: Path) -> str:
    return os.fsdecode(os.fsencode(target.stem)[:_MAX_STEM_BYTES])
