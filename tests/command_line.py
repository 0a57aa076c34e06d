"""The command line run inside the test's own process: all of `rkdeploy ARGUMENTS` but the start of an interpreter.

Starting one and importing numpy and OpenCV takes longer than most commands do.  Tests of what a process is (its
signals, its imports, its death) start one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from rkdeploy.cli.main import run_app

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def rkdeploy(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; its output is caught at the descriptors, so that of C code and of child processes is in it.

    Args:
        arguments: without the program's name.
        cwd: the working directory; default the present one.
        env: the whole environment; default the present one.

    Returns:
        What `subprocess.run` gives of the program: an exception that it would die of is a traceback and code 1.
    """
    words = ["rkdeploy", *map(str, arguments)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with _surroundings(words, cwd, env), _caught(out, err):
            code = _exit_code()
        return subprocess.CompletedProcess(words, code, _text(out), _text(err))


def _exit_code() -> int:
    try:
        run_app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001  (as an interpreter ends)
        traceback.print_exc()
        return 1


@contextlib.contextmanager
def _surroundings(words: list[str], cwd: Path | None, env: Mapping[str, str] | None) -> Iterator[None]:
    """Arguments, folder, environment and signal handlers, which are put back."""
    folder, variables, argv = Path.cwd(), dict(os.environ), sys.argv
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    sys.argv = words
    try:
        os.chdir(cwd or folder)
        _set_environment(variables if env is None else env)
        yield
    finally:
        sys.argv = argv
        _set_environment(variables)
        os.chdir(folder)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _set_environment(variables: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)
    tempfile.tempdir = None  # TMPDIR may be another


@contextlib.contextmanager
def _caught(out: IO[bytes], err: IO[bytes]) -> Iterator[None]:
    """Descriptors 1 and 2, and Python's streams on them, go to these files."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (closed below, after the swap)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        caught = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = streams
        for stream in caught:
            stream.close()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def without_times(json_lines: str) -> list[str]:
    """JSON lines of a run without the times at which its frames were read."""
    return re.sub(r'"time": "[^"]*", "monotonic_s": [\d.]+, ', "", json_lines).splitlines()
