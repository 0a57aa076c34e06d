"""The `rkdeploy` command: arguments, progress and exit codes, nothing else.

Exit codes: 0 done, 1 a known failure (one message, no traceback), 2 wrong usage, 130 interrupted.
"""

from rkdeploy.cli.main import main

__all__ = ["main"]
