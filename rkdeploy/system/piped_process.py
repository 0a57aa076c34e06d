"""A child process with one pipe to this process: start, read, end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from rkdeploy.errors import RkdeployError
from rkdeploy.system.end_signals import EXIT_WORDS, interrupts_ignored

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    Pipe = Connection[Any, Any]


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """End of a process that closed its pipe without a message.

    Attributes:
        exit_code: as Python has it, negative for a signal; None where it still runs.
    """

    exit_code: int | None

    @property
    def signal(self) -> int | None:
        """Number of the signal that ended it; None where it ended by itself."""
        if self.exit_code is None or (self.exit_code >= 0 and self.exit_code not in EXIT_WORDS):
            return None
        return -self.exit_code if self.exit_code < 0 else self.exit_code - 128

    def __str__(self) -> str:
        return f"exit code {self.exit_code}" if self.signal is None else f"killed by signal {self.signal}"


class PipedProcess:
    """A process that was started with the other end of a pipe as its first argument.

    Args:
        name: of the process, for the message: `Worker 1`.
        work: a function of a module: `work(pipe, *arguments)`.
        arguments: picklable.
        stop_s: seconds that the process has to end by itself before it is killed.

    Raises:
        RkdeployError: it cannot be started.
    """

    def __init__(self, name: str, work: Callable[..., None], arguments: Sequence[Any], stop_s: float) -> None:
        # A fork would copy locks that threads of onnxruntime and OpenCV hold.
        context = multiprocessing.get_context("spawn")
        self.pipe: Pipe
        self.pipe, there = context.Pipe()
        self._stop_s = stop_s
        self._process: BaseProcess = context.Process(target=work, args=(there, *arguments), daemon=False)
        try:
            with interrupts_ignored():  # the process inherits that: this one decides when it ends
                self._process.start()
        except OSError as error:
            self.pipe.close()
            raise RkdeployError(f"{name} cannot be started: {error.strerror}.", "Use fewer --workers.") from error
        finally:
            there.close()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    def receive(self) -> Any:
        """The next message, or a `ProcessEnd` where the process ended without one."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(self._stop_s)
            return ProcessEnd(self._process.exitcode)

    def terminate(self) -> None:
        """Ask the process to end, by SIGTERM."""
        self._process.terminate()

    def join(self) -> None:
        """Close the pipe and wait for the end of the process; one that does not end is killed."""
        self.pipe.close()
        self._process.join(self._stop_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
