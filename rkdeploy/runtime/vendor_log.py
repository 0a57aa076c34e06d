"""What the vendor's library prints while it opens a model: kept off stdout, and used as the reason of a failure.

It writes to file descriptors 1 and 2 past Python, and its return codes say little: the reason is only in that text.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ONE_AT_A_TIME = threading.Lock()
_ERROR_LINE = re.compile(r"^E (?!Traceback|Catch exception)(?:RKNN[^:]*: )?(?:\[[\d:.]+\] ?)?(.*\S)")
_EXCEPTION_LINE = re.compile(r"^Exception: (.*\S)")


class VendorLog:
    """The text that was printed inside `captured`."""

    def __init__(self) -> None:
        self.text = ""

    def reason(self) -> str:
        """The errors in it as one line of at most 300 characters; empty when there are none."""
        found = [
            m[1] for line in self.text.splitlines() if (m := _ERROR_LINE.match(line) or _EXCEPTION_LINE.match(line))
        ]
        line = "; ".join(dict.fromkeys(part.rstrip(".") for part in found))
        return line if len(line) <= 300 else f"{line[:297]}..."


@contextlib.contextmanager
def captured() -> Iterator[VendorLog]:
    """Everything that this process prints to descriptors 1 and 2 meanwhile, complete on leaving.

    For opening and closing only: what other threads print at that moment is caught, too, and one thread at a time.
    """
    log = VendorLog()
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as file:
        saved = []
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):  # closed or replaced streams
                stream.flush()
        try:
            for descriptor in (1, 2):
                with contextlib.suppress(OSError):  # closed, as in a daemon
                    saved.append((descriptor, os.dup(descriptor)))
                    os.dup2(file.fileno(), descriptor)
            yield log
        finally:
            for descriptor, copy in saved:
                os.dup2(copy, descriptor)
                os.close(copy)
            file.seek(0)
            log.text = file.read().decode("utf-8", "replace")
