"""The kernel's log of this boot: from the journal, /dev/kmsg or dmesg, whichever this user may read."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

_MAX_BYTES: Final = 4 << 20
_MAX_LINES: Final = 20_000
_MAX_SAID: Final = 120
_READ_S: Final = 2.0
_COMMAND_S: Final = 5.0
_RECORD: Final = 8192
"""Longest record of /dev/kmsg, bytes; a shorter read is refused."""
_DEVICE: Final = "dev/kmsg"
_JOURNAL_NAME: Final = "journalctl -k"
_JOURNAL: Final = (
    "journalctl", "-k", "-b", "-q", "-o", "short-monotonic", "--no-pager", "-n", str(_MAX_LINES),
)  # fmt: skip
_DMESG: Final = ("dmesg",)
_ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class KernelLog:
    """Lines of the kernel's log.

    Attributes:
        lines: oldest first; the newest 20,000 in at most 4 MiB.
        read_by: what gave them, `journalctl -k`; empty if nothing did.
        why_not: the reason of each way that failed, if all did.
    """

    lines: tuple[str, ...]
    read_by: str
    why_not: str = ""


NO_LOG: Final = KernelLog((), "")


def read_kernel_log(sysroot: Path = _ROOT) -> KernelLog:
    """Read the kernel's log of this boot.

    The journal is tried first, because it still has what the kernel's own buffer has lost.

    Args:
        sysroot: folder that stands in for `/`; with another than `/` only its `dev/kmsg` is read.
    """
    refused = []
    for way in (_JOURNAL, (), _DMESG) if sysroot == _ROOT else ((),):
        found = _by_command(way) if way else _by_device(sysroot)
        if found.read_by:
            return found
        refused.append(found.why_not)
    return KernelLog((), "", "; ".join(refused))


class KernelLogWatch:
    """The lines that the kernel logs from entering on.  A context manager.

    By the position in /dev/kmsg, not by time: the clock of the log's lines drifts against others over weeks.  Where
    only the journal may be read, by its own clock.

    Args:
        sysroot: as in `read_kernel_log`.
    """

    def __init__(self, sysroot: Path = _ROOT) -> None:
        self._sysroot = sysroot
        self._descriptor: int | None = None
        self._since = 0.0
        self._why_not = ""

    def __enter__(self) -> Self:
        self._since = time.time()
        try:
            self._descriptor = _opened(self._sysroot / _DEVICE)
        except OSError:
            self._why_not = read_kernel_log(self._sysroot).why_not
        else:
            os.lseek(self._descriptor, 0, os.SEEK_END)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> KernelLog:
        """The new lines since entering, or since the last call."""
        if self._descriptor is not None:
            return KernelLog(_lines(_rest(self._descriptor)), f"/{_DEVICE}")
        if self._why_not:
            return KernelLog((), "", self._why_not)
        since, self._since = self._since, time.time()
        return KernelLog(_by_command((*_JOURNAL, "--since", f"@{since:.3f}")).lines, _JOURNAL_NAME)


def _by_device(sysroot: Path) -> KernelLog:
    """Everything in the kernel's own buffer; of a file that stands in, its last 4 MiB."""
    try:
        descriptor = _opened(sysroot / _DEVICE)
    except OSError as error:
        return KernelLog((), "", f"/{_DEVICE}: {error.strerror}")
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode):
            os.lseek(descriptor, max(0, facts.st_size - _MAX_BYTES), os.SEEK_SET)
        return KernelLog(_lines(_rest(descriptor)), f"/{_DEVICE}")
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _rest(descriptor: int) -> bytes:
    """The rest of the log, within a budget of bytes and time; a read of the device gives one record."""
    parts, size, deadline = [], 0, time.monotonic() + _READ_S
    while size < _MAX_BYTES and time.monotonic() < deadline:
        try:
            part = os.read(descriptor, _RECORD)
        except BrokenPipeError:  # records were overwritten; the next read gives the oldest that is left
            continue
        except OSError:  # EAGAIN at the end; EPERM where the log is restricted
            break
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _by_command(command: tuple[str, ...]) -> KernelLog:
    """The output of journalctl or dmesg, through a file, so that only its end is taken into memory."""
    name = _JOURNAL_NAME if command[0] == _JOURNAL[0] else command[0]
    with tempfile.TemporaryFile() as output:
        try:
            ran = subprocess.run(  # noqa: S603  (constant commands, found in PATH as for any user)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=_COMMAND_S,
                check=False,
            )
        except FileNotFoundError:
            return KernelLog((), "", f"{name}: not installed")
        except (OSError, subprocess.TimeoutExpired) as error:
            return KernelLog((), "", f"{name}: {type(error).__name__}")
        output.seek(max(0, output.seek(0, os.SEEK_END) - _MAX_BYTES))
        lines = _lines(output.read(_MAX_BYTES))
    if lines:
        return KernelLog(lines, name)
    said = next(iter(ran.stderr.decode("utf-8", "replace").strip().splitlines()), "")
    return KernelLog((), "", f"{name}: {said[:_MAX_SAID] or 'no lines'}")


def _lines(content: bytes) -> tuple[str, ...]:
    """Lines of a log; the device's lines of properties, which begin with a space, are left out."""
    lines = content.decode("utf-8", "replace").split("\n")
    return tuple(line for line in lines[-_MAX_LINES:] if line and not line.startswith(" "))
