"""A shorter turn for each Python thread, while a caller needs it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

_SWITCH_INTERVAL_S = 0.0005
_lock = threading.Lock()
_users = 0
_before = 0.0


@contextlib.contextmanager
def short_switch_interval() -> Iterator[None]:
    """Threads that wait for the GIL get it within 0.5 ms instead of Python's 5 ms.

    The interval is the process's own: with several users at a time the first sets it, and the last sets it back.
    """
    global _before, _users  # noqa: PLW0603 - the interval is global itself
    with _lock:
        if not _users:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL_S)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                sys.setswitchinterval(_before)
