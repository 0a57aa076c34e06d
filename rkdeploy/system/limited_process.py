"""Work on an untrusted file, in a child process with limits on memory and time.

The child is a fork: the libraries are already imported, which costs 2.5 s otherwise, and the work's data is already in
memory.  Only bytes are returned, which the caller decodes into a type it knows; nothing is unpickled.  A fork has no
other threads, so the work must not need a thread pool that this process has started: onnxruntime makes one per session,
so sessions must be created in the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from rkdeploy import errors
from rkdeploy.errors import RkdeployError
from rkdeploy.system.end_signals import interrupts_ignored

_DONE, _REFUSED, _FAILED, _NO_MEMORY = 0, 3, 4, 5  # exit codes
_BLOCK = 1 << 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_KNOWN = {c.__name__: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RkdeployError)}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a child.

    Attributes:
        memory_bytes: memory that it may allocate beyond what this process has.
        seconds: of wall time.
    """

    memory_bytes: int
    seconds: float


class LimitedProcessError(RkdeployError):
    """The child was stopped, crashed or failed unexpectedly; the message is the second half of a sentence."""


class _Refusal(msgspec.Struct, frozen=True):
    """An `RkdeployError` in transit."""

    kind: str
    message: str
    hint: str


def run_limited(work: Callable[[], bytes], limits: Limits) -> bytes:
    """Run `work` in a child process and return its bytes.

    Raises:
        LimitedProcessError: the child exceeded its limits, was ended by a signal, or failed unexpectedly.
        RkdeployError: any known failure that the work raised, of the same class.
    """
    deadline = time.monotonic() + limits.seconds
    here, there = os.pipe()
    try:
        with interrupts_ignored():  # until the child has set them to be ignored for good
            child = os.fork()
            if child == 0:
                _work(work, limits, there)
    except OSError as error:
        os.close(here)
        raise LimitedProcessError(f"no process can be started for it: {error.strerror}") from error
    finally:
        os.close(there)
    answer, in_time = b"", False
    try:
        answer, in_time = _received(here, deadline)
    finally:
        os.close(here)
        if not in_time:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not in_time:
        raise LimitedProcessError(f"it takes more than {limits.seconds:.0f} s")
    return _judged(status, answer, limits)


def _received(pipe: int, deadline: float) -> tuple[bytes, bool]:
    """The child's output until it ends, and True if it ended in time."""
    blocks: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            break
        block = os.read(pipe, _BLOCK)
        if not block:
            return b"".join(blocks), True
        blocks.append(block)
    return b"", False


def _judged(status: int, answer: bytes, limits: Limits) -> bytes:
    """The answer of a child that ended with the status.

    Raises:
        LimitedProcessError, RkdeployError: see `run_limited`.
    """
    if status == _DONE:
        return answer
    if status == _REFUSED:
        refusal = msgspec.msgpack.decode(answer, type=_Refusal)
        raise _KNOWN.get(refusal.kind, RkdeployError)(refusal.message, refusal.hint)
    if status == _NO_MEMORY:
        raise LimitedProcessError(f"it needs more than {limits.memory_bytes / 1e9:.1f} GB of memory")
    if status == _FAILED:
        raise LimitedProcessError(answer.decode() or "the process that read it ended without an answer")
    if status < 0:
        name = signal.Signals(-status).name
        raise LimitedProcessError(f"the process that read it was ended by {name} ({signal.strsignal(-status)})")
    raise LimitedProcessError(f"the process that read it ended with exit code {status}")


def _work(work: Callable[[], bytes], limits: Limits, pipe: int) -> NoReturn:
    """In the child: set the limits, work, write the answer, and end without this process's cleanup."""
    code = _FAILED
    gc.freeze()  # a collection here would copy every page of this process that has an object
    try:
        _confine(limits)
        outcome, answer = _outcome(work)
        with open(pipe, "wb") as stream:
            stream.write(answer)
        code = outcome
    except MemoryError:  # what filled the memory may still be there while the answer is written
        code = _NO_MEMORY
    finally:
        os._exit(code)


def _confine(limits: Limits) -> None:
    """Set the limits, and suppress the output of libraries and core dumps."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # in this process they raise an exception
    faulthandler.disable()
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Private writable memory: address space would also count what 64 threads' arenas only reserve.
    most = _data_bytes() + limits.memory_bytes
    with contextlib.suppress(ValueError):  # a stricter limit is already set
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _data_bytes() -> int:
    """Bytes that count for RLIMIT_DATA now (VmData of proc(5))."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmData:")), "0")
    return int(found) * 1024


def _outcome(work: Callable[[], bytes]) -> tuple[int, bytes]:
    try:
        return _DONE, work()
    except RkdeployError as error:
        return _REFUSED, msgspec.msgpack.encode(_Refusal(type(error).__name__, error.message, error.hint))
    except MemoryError:
        return _NO_MEMORY, b""
    except Exception as error:  # noqa: BLE001  (a damaged file can make any library raise anything)
        return _FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".encode(errors="replace")
