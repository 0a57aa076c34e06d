"""Ctrl-C, SIGTERM and a closed terminal as an exception that unwinds, so that no partial file stays.

Python's own KeyboardInterrupt is not suitable for a program that imports much: extension modules (numpy, onnx, cv2)
turn
it into an ImportError or drop it while they are imported, and after one within an `exec`, with which dataclasses are
created, `python -m` ends by the signal whatever exit code was requested.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
EXIT_WORDS: dict[object, str] = {128 + number: word for number, word in _WORDS.items()}

_AGAIN_S = 0.02
_IMPORT = "<frozen importlib._bootstrap"


class _Ended(SystemExit):
    """The end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def take_end_signals() -> None:
    """Make these signals raise SystemExit(128 + number) in the main thread; an ignored one stays ignored.

    One that comes while a module is imported takes effect when the import is done, one that comes in a destructor or
    another function whose exceptions Python ignores takes effect behind it.
    """
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    shown = sys.unraisablehook

    def ignored(what: sys.UnraisableHookArgs) -> None:
        if isinstance(what.exc_value, _Ended):
            _end_soon(what.exc_value.number)
        else:
            shown(what)

    sys.unraisablehook = ignored


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, also in processes that are started meanwhile: their parent handles it for them."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    if not _importing(frame):
        raise _Ended(number)
    _end_soon(number)


def _end_soon(number: int) -> None:
    """Try again in a moment."""
    signal.signal(signal.SIGALRM, lambda _alarm, now: _end(number, now))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT):
            return True
        frame = frame.f_back
    return False
