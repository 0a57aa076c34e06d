"""Threads that a test leaves behind: other tests of the same process may leave some that end on their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_thread_stays(prefix: str = "") -> Iterator[None]:
    """Assert that no thread which was started inside is alive at the end.

    Args:
        prefix: of the names of the threads that are judged; those of a test's own servers have other names.

    Threads that were alive before are not judged: a reader of another test's ssh may end at any time.
    """
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and thread.name.startswith(prefix)]
    assert not left, f"threads stay alive: {', '.join(left)}"
