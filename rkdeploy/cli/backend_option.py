"""The options that choose what runs the network, for every command that runs one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rkdeploy.cli.console import err, plain, print_warning
from rkdeploy.device.runtime.registry import BACKENDS, choose_backend

AUTO = "auto"
_NAMES = (AUTO, *BACKENDS)


def _known(name: str) -> str:
    if name not in _NAMES:
        raise typer.BadParameter(f'"{name}" is none; expected one of {", ".join((AUTO, *sorted(BACKENDS)))}.')
    return name


BackendOption = Annotated[
    str,
    typer.Option(
        help=f"What runs the network: {', '.join(_NAMES)}. onnxruntime and opencv_dnn run the float network on this "
        "PC; simulator runs the built one in the toolkit's NPU simulator; replay plays a recording.",
        callback=_known,
    ),
]
ToolkitPythonOption = Annotated[
    Path | None,
    typer.Option(
        help="Interpreter that has rknn-toolkit2, if it is not this one.",
        envvar="RKDEPLOY_TOOLKIT_PYTHON",
        show_default=False,
    ),
]


def settled(backend: str, *, quiet: bool = False) -> str:
    """The name of a backend; for `auto` the best that works here, and the user is told why."""
    if backend != AUTO:
        return backend
    choice = choose_backend()
    if choice.degraded:
        print_warning(choice.reason)
    elif not quiet:
        err.print(plain(choice.reason))
    return choice.backend
