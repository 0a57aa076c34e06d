"""Verbosity of a command: -q leaves results, warnings and errors; -v adds every step, from the rooms' loggers."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

from rkdeploy.cli.console import err, plain

_LOGGER = logging.getLogger("rkdeploy")


class _Verbosity:
    quiet = False


class _ToStderr(logging.Handler):
    """Prints each record as a line with the seconds since the command began; a progress bar stays below it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._begun = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        seconds = time.monotonic() - self._begun
        room = record.name.removeprefix("rkdeploy.")
        err.print(f"[dim]{seconds:7.2f} s  {plain(room)}: {plain(record.getMessage())}[/]")


@contextlib.contextmanager
def level(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """Set the verbosity of one command, until it ends."""
    before, _Verbosity.quiet = _Verbosity.quiet, quiet
    handler = _ToStderr() if verbose else None
    if handler is not None:
        _LOGGER.addHandler(handler)
        _LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _Verbosity.quiet = before
        if handler is not None:
            _LOGGER.removeHandler(handler)
            _LOGGER.setLevel(logging.NOTSET)


def is_quiet() -> bool:
    """Tell whether --quiet was given."""
    return _Verbosity.quiet


def note(text: str) -> None:
    """Print what a user may want to know, to stderr; nothing where --quiet was given."""
    if not _Verbosity.quiet:
        err.print(plain(text))
