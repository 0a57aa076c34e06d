"""Entry point of the command: signals first, then everything else."""

from __future__ import annotations

import contextlib
import sys
from typing import NoReturn

from rkdeploy.system.end_signals import EXIT_WORDS, take_end_signals


def main() -> NoReturn:
    """Run the command line; exits with its code, and with one word where a signal ended it."""
    take_end_signals()
    try:
        from rkdeploy.cli.main import run_app  # takes long enough to be interrupted

        run_app()
    except SystemExit as end:
        if end.code in EXIT_WORDS:
            with contextlib.suppress(OSError):  # the terminal has gone
                print(EXIT_WORDS[end.code], file=sys.stderr, flush=True)
        raise
