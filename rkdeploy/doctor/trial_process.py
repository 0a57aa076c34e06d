"""Runs `rkdeploy.doctor.trials` in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rkdeploy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TIMEOUT_S = 120.0
_SHOWN = 300  # longest error, in characters
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "run": (),
    "build": ("onnx", "onnxsim", "onnxruntime"),
    "report": ("jinja2",),
    "eval": ("pycocotools",),
    "run --web": ("starlette", "uvicorn"),
}
_EXTRAS: Final = {"build": "graph", "report": "report", "eval": "eval", "run --web": "web"}
# Neither the script's folder nor the working directory is searched: a file there may have a package's name.
_CODE = (
    "import sys; sys.path[0:1] = []; sys.path.append(sys.argv.pop(1)); from rkdeploy.doctor.trials import main; "
    "main(sys.argv[1:])"
)


@dataclass(frozen=True, slots=True)
class Trial:
    """Result of the trial runs of one command.

    Attributes:
        command: `run`, `build`.
        extra: extra with its packages; empty for those that are always installed.
        error: of the first failure; empty when all succeeded.
    """

    command: str
    extra: str
    error: str = ""


def try_work(packages: Mapping[str, str]) -> tuple[Trial, ...]:
    """Try every command whose packages are installed.

    Args:
        packages: name -> version of the installed packages.
    """
    commands = [command for command, needed in _NEEDS.items() if all(name in packages for name in needed)]
    parent = str(Path(rkdeploy.__file__).parents[1])
    try:
        ran = subprocess.run(  # noqa: S603  (this interpreter, and our own words)
            [sys.executable, "-c", _CODE, parent, *commands],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        printed, end = ran.stdout, _end(ran.returncode, ran.stderr)
    except subprocess.TimeoutExpired as error:
        printed = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"no answer within {_TIMEOUT_S:g} s"
    errors = read_trials(printed.splitlines(), end)
    return tuple(Trial(name, _EXTRAS.get(name, ""), errors.get(name, end)[:_SHOWN]) for name in commands)


def read_trials(lines: Iterable[str], end: str) -> dict[str, str]:
    """First error of each command, empty for none, from the child's output.

    Args:
        lines: of the child's output; lines printed by packages are skipped.
        end: error of a trial that was begun and not ended.
    """
    states: dict[str, dict[str, str]] = {}
    for line in lines:
        try:
            command, trial, state = json.loads(line)
        except ValueError:
            continue
        states.setdefault(command, {})[trial] = end if state == "begun" else state
    return {command: next(filter(None, trials.values()), "") for command, trials in states.items()}


def _end(code: int, stderr: str) -> str:
    if code < 0:
        return f"the process was ended by signal {-code}"
    last = next(reversed(stderr.strip().splitlines()), "")
    return f"the process ended with exit code {code}{f': {last}' if last else ''}"
