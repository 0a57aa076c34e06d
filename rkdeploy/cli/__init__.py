"""The `rkdeploy` command: arguments, progress and exit codes, nothing else.

Exit codes: 0 done, 1 a known failure (one message, no traceback), 2 wrong usage; ended by a signal: 129 hung up,
130 interrupted, 143 terminated.
"""
