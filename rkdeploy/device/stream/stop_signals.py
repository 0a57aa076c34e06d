"""SIGINT, SIGTERM and SIGHUP as a request that a loop polls, so that work in progress can be finished."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on


class StopSignals:
    """Handles the signals while it is entered; in the main thread only.

    While `gentle`, the first signal is kept in `received`; the second one, or one before that, has its previous effect,
    or ends the program immediately.  A signal that was ignored before (`nohup`) stays ignored.

    Attributes:
        gentle: True while a loop polls `received`.
        received: the first signal that came while `gentle`; None before.
    """

    def __init__(self) -> None:
        self.gentle = False
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    @property
    def exit_code(self) -> int:
        """Exit code of a program that this signal ends; 0 when no signal came."""
        return 0 if self.received is None else 128 + self.received

    def _take(self, number: int, frame: FrameType | None) -> None:
        # Nothing else: the handler runs between two instructions of the main thread, which may hold any lock.
        if self.gentle and self.received is None:
            self.received = signal.Signals(number)
        elif callable(before := self._before[signal.Signals(number)]):
            before(number, frame)
        else:
            sys.exit(128 + number)
