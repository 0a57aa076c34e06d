"""Work in a child with limits: its answer, its failures, and what it leaves."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.errors import GraphError, VerificationError
from rkdeploy.system.limited_process import LimitedProcessError, Limits, run_limited

LIMITS = Limits(1 << 30, 20.0)


def test_answer_of_any_size() -> None:
    """Bytes come back whole, more than a pipe holds; what the child changed is not changed here."""
    seen: list[int] = []

    def work() -> bytes:
        seen.append(1)
        return bytes(range(256)) * 40_000

    assert run_limited(work, LIMITS) == bytes(range(256)) * 40_000
    assert not seen
    assert run_limited(lambda: b"", LIMITS) == b""


@pytest.mark.parametrize("kind", [GraphError, VerificationError])
def test_known_failures_keep_their_class(kind: type[GraphError | VerificationError]) -> None:
    """An error of ours arrives as it was raised, hint included."""

    def work() -> bytes:
        raise kind('"a" is wrong.', "Mend it.")

    with pytest.raises(kind) as raised:
        run_limited(work, LIMITS)
    assert (raised.value.message, raised.value.hint) == ('"a" is wrong.', "Mend it.")


def _killed_by(number: int) -> Callable[[], bytes]:
    def work() -> bytes:
        os.kill(os.getpid(), number)
        return b"alive"

    return work


def _too_large() -> bytes:
    return np.ones(1 << 28, np.float64).tobytes()


def _too_large_by_parts() -> bytes:
    return b"".join(bytes(1 << 20) for _ in range(4096))


def _surprised() -> bytes:
    raise KeyError("answer")


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (_killed_by(signal.SIGFPE), "ended by SIGFPE"),
        (_killed_by(signal.SIGSEGV), "ended by SIGSEGV"),
        (_killed_by(signal.SIGTERM), "ended by SIGTERM"),
        (_too_large, r"needs more than 1\.1 GB of memory"),
        (_too_large_by_parts, r"needs more than 1\.1 GB of memory"),
        (lambda: bytes(os._exit(9)), "ended with exit code 9"),
        (_surprised, "^KeyError: "),
    ],
)
def test_crashes_and_limits(work: Callable[[], bytes], message: str) -> None:
    """A signal, too much memory, an exit and an unexpected exception are one message each."""
    with pytest.raises(LimitedProcessError, match=message):
        run_limited(work, LIMITS)


def test_time_limit() -> None:
    """Work without an end is stopped, also where it does not return to Python, and nothing of it stays."""
    children = set(_children())
    started = time.monotonic()
    with pytest.raises(LimitedProcessError, match=r"takes more than 1 s"):
        run_limited(lambda: bytes(sum(1 for _ in iter(int, 1))), Limits(1 << 30, 1.0))
    assert 0.9 < time.monotonic() - started < 10
    assert set(_children()) == children


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_an_interrupt_ends_the_child() -> None:
    """Ctrl-C unwinds here, and takes the child along."""
    children = set(_children())

    def interrupt() -> bytes:
        time.sleep(0.5)  # it is ignored until the fork is done
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
        return b""

    with pytest.raises(KeyboardInterrupt):
        run_limited(interrupt, Limits(1 << 30, 60.0))
    assert set(_children()) == children


def test_the_child_keeps_to_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """Output of libraries in the child is not shown, and our own buffers are not printed twice."""
    sys.stdout.write("once\n")

    def noisy() -> bytes:
        os.write(1, b"terminate called after throwing\n")
        os.write(2, b"terminate called after throwing\n")
        return b"done"

    assert run_limited(noisy, LIMITS) == b"done"
    sys.stdout.flush()
    assert capfd.readouterr() == ("once\n", "")
