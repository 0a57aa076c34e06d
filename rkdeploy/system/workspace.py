"""A temporary folder that is removed at the end, by this process or, if it was killed, by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rkdeploy.errors import RkdeployError

_PREFIX: Final = "rkdeploy-tune-"
_LOCK: Final = ".lock"


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """A new folder, held by a lock that ends with this process.

    Args:
        parent: folder to create it in; None is the system's folder for temporary files.

    Raises:
        RkdeployError: when it cannot be created.
    """
    place = parent or Path(tempfile.gettempdir())
    _clear(place)
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
        descriptor = os.open(fresh / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder = fresh.rename(fresh.with_name(fresh.name[1:]))  # renamed once the lock is held
    except OSError as error:
        raise RkdeployError(
            f'A folder for the trials cannot be created in "{place}": {error.strerror}.',
            "Set TMPDIR to another folder.",
        ) from error
    try:
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _clear(place: Path) -> None:
    """Remove the folders of processes of this user that were killed."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = folder / _LOCK
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not lock.is_file():
                continue
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
