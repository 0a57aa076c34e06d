"""Messages that the vendor's library prints while it opens a model: the reason of a failure, otherwise suppressed.

It writes to file descriptor 2 past Python, and its return codes say little: the reason is only in that text.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from rkdeploy.device.faults.fault_search import explanation

if TYPE_CHECKING:
    from collections.abc import Iterator

_ONE_AT_A_TIME = threading.Lock()
_ERROR_LINE = re.compile(r"^E (?!Traceback|Catch exception)(?:RKNN[^:]*: )?(?:\[[\d:.]+\] ?)?(.*\S)")
_VENDOR_LINE = re.compile(r"[EWID] |Exception: | {2}|\s*$")
"""The library's log lines, and the tracebacks that its Python package prints."""
_EXCEPTION_LINE = re.compile(r"^Exception: (.*\S)")


class VendorLog:
    """The text that was printed inside `captured`."""

    def __init__(self) -> None:
        self.text = ""

    def reason(self) -> str:
        """The errors in the text as one line of at most 300 characters; empty when there are none."""
        found = [
            m[1] for line in self.text.splitlines() if (m := _ERROR_LINE.match(line) or _EXCEPTION_LINE.match(line))
        ]
        line = "; ".join(dict.fromkeys(part.rstrip(".") for part in found))
        return line if len(line) <= 300 else f"{line[:297]}..."

    def explanation(self) -> str:
        """Meaning and fix of each known fault in the text, as one line; empty when there are none."""
        return explanation(self.text)


@contextlib.contextmanager
def captured() -> Iterator[VendorLog]:
    """Capture everything that this process prints to descriptor 2; complete on leaving.

    For opening and closing only, one thread at a time.  Output of other threads to it is delayed until the end.
    Descriptor 1 is not captured: it may carry results.
    """
    log = VendorLog()
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as file:
        _flush_stderr()
        try:
            saved = os.dup(2)
        except OSError:  # closed, as in a daemon
            yield log
            return
        try:
            os.dup2(file.fileno(), 2)
            yield log
        finally:
            _flush_stderr()
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            log.text = file.read().decode("utf-8", "replace")
            others = "".join(line for line in log.text.splitlines(keepends=True) if not _VENDOR_LINE.match(line))
            if others:
                with contextlib.suppress(OSError):
                    os.write(2, others.encode())


def _flush_stderr() -> None:
    with contextlib.suppress(AttributeError, ValueError, OSError):  # a closed or replaced stream
        sys.stderr.flush()
