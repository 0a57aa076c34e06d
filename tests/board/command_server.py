"""A process on the emulated board that has imported the command line, and runs each command in a fork of itself.

Under emulation the imports take longer than what is tested.  Run by its path.  Standard input has one JSON list per
line, `[arguments, environment, file for stdout, file for stderr]`, and each is answered by a line with the exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import traceback

LIMIT_S = 300
"""After this long a command is ended by a signal."""

# What a command imports when it runs.  The packages of the runtimes are not among them: choosing one is tested.
IMPORTED = (
    "rkdeploy.cli.main",
    "rkdeploy.cli.run",
    "rkdeploy.device.runtime.backends",
    "rkdeploy.device.stream.pipeline",
    "rkdeploy.device.stream.sinks.jsonl",
    "rkdeploy.device.stream.sources.image_files",
)


def serve() -> None:
    """Run what standard input asks for, one line each, until it ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    requests = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the commands' own
    gc.freeze()  # a collection in a fork would copy every page that has an object
    for line in requests:
        arguments, environment, out, err = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(arguments, environment, (out, err))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(arguments: list[str], environment: dict[str, str], files: tuple[str, str]) -> None:
    """Be the command `rkdeploy ARGUMENTS`, and end."""
    from rkdeploy.cli.entry import main

    code = 70
    try:
        signal.alarm(LIMIT_S)
        os.environ.update(environment)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115  (until the process ends)
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.argv = ["rkdeploy", *arguments]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (a test looks for it)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
