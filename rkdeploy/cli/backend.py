"""The backend that a command uses: the one that is named, or the best that works here, with the reason."""

from __future__ import annotations

from rkdeploy.cli.console import print_warning
from rkdeploy.cli.verbosity import note
from rkdeploy.device.runtime.backend_names import AUTO


def settled(backend: str) -> str:
    """The name of a backend; for `auto` the best that works here, with the reason printed."""
    if backend != AUTO:
        return backend
    from rkdeploy.device.runtime.backends import choose_backend  # numpy's: help needs none

    choice = choose_backend()
    if choice.degraded:
        print_warning(choice.reason)
    else:
        note(choice.reason)
    return choice.backend
