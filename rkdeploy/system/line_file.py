"""A file of lines that can be read while it is written: each line whole, in one write, under the file's own name."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rkdeploy.errors import RkdeployError
from rkdeploy.system.atomic_file import followed, is_device, make_folder, refuse_folder
from rkdeploy.system.partial_file import clear_partials, hidden_path

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

_TAIL: Final = 1 << 20
"""Bytes of an existing file's end in which its last line is looked for."""


class LineFile:
    """Lines in a file that others follow (`tail -f`); a process that is killed loses at most the line under way.

    Either the lines of an earlier file are kept, and a last line that was cut short by a kill is removed; or the
    earlier file is set aside, and comes back if the context is left with an exception.  Devices and pipes are written
    into as they are.  One writer at a time: the file is locked (flock) until the process ends.

    Args:
        target: the file; a link is followed.
        keep: True to append to an earlier file, also after an exception.
    """

    def __init__(self, target: Path, *, keep: bool) -> None:
        self.target = followed(target)
        self._keep = keep
        self._descriptor = -1
        self._aside: tuple[Path, int] | None = None

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            RkdeployError: when it is a folder, cannot be written, or another run writes it.
        """
        refuse_folder(self.target)
        make_folder(self.target.parent)
        try:
            if is_device(self.target):
                self._descriptor = os.open(self.target, os.O_WRONLY | os.O_CLOEXEC)
            elif self._keep:
                self._descriptor = self._opened(os.O_CREAT)
                _end_last_line(self._descriptor)
            else:
                clear_partials(self.target.parent, self.target)
                self._set_aside()
                self._descriptor = self._opened(os.O_CREAT | os.O_EXCL)
        except BaseException as error:
            self._close(failed=True)
            if isinstance(error, OSError):
                raise RkdeployError(f'"{self.target}" cannot be written: {error.strerror}.') from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(failed=kind is not None)

    def write(self, line: str) -> None:
        """Append one line; `line` is ASCII without the line end.

        Raises:
            BrokenPipeError: when the reader of a pipe closed it.
            OSError: when it cannot be written, such as on a full disk; the file ends with the line before then.
        """
        data = line.encode("ascii") + b"\n"
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            if written:
                self._cut(written)
            raise

    def _cut(self, length: int) -> None:
        """Remove the beginning of a line that could not be written whole."""
        with suppress(OSError):  # a pipe has no length
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - length)

    def _opened(self, creating: int) -> int:
        descriptor = os.open(self.target, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | creating, 0o666)
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RkdeployError(
                f'"{self.target}" is being written by another run.', "Give this run another file, or end the other one."
            ) from error
        except OSError:  # a file system without locks
            return

    def _set_aside(self) -> None:
        """Rename an earlier file; its lock tells others that it is not a killed run's leftover."""
        try:
            descriptor = os.open(self.target, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._lock(descriptor)
            aside = hidden_path(self.target)
            self.target.replace(aside)
        except BaseException:
            os.close(descriptor)
            raise
        self._aside = aside, descriptor

    def _close(self, *, failed: bool) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        earlier, self._aside = self._aside, None
        regular = descriptor >= 0 and not is_device(self.target)
        if failed and regular and not self._keep:
            with suppress(OSError):
                self.target.unlink(missing_ok=True)
        if earlier is not None:
            aside, held = earlier
            with suppress(OSError):
                aside.replace(self.target) if failed else aside.unlink()
            os.close(held)
        if descriptor >= 0:
            with suppress(OSError):  # every line was written; a failure was raised then
                os.close(descriptor)


def _end_last_line(descriptor: int) -> None:
    """Make a file end with a whole line: one without its end is completed if it is JSON, and removed otherwise."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _TAIL)
    tail = os.pread(descriptor, size - begin, begin)
    if not tail or tail.endswith(b"\n"):
        return
    last = tail[tail.rfind(b"\n") + 1 :]
    if last.startswith(b"{") and not _is_json(last):
        os.ftruncate(descriptor, size - len(last))
    else:
        os.write(descriptor, b"\n")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
