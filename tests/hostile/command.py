"""Runs the command line in a process of its own, and judges how it refused.

The process is a fork, so that nothing is imported again.  It is a fork of a small server (`python -m
tests.hostile.command`), which has imported what the commands need and nothing else: a fork of a test process, which
has hundreds of megabytes, takes ten times as long as what is tested.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from rkdeploy.cli.main import app, run_app
from rkdeploy.errors import RkdeployError

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "calib_data"
GIB = 1 << 30
_PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a command.

    Attributes:
        code: exit code; the negative number of the signal that ended it.
        seconds, processor_s: wall time, and processor time: the difference is the machine's load.
        peak_growth_bytes: growth of its resident memory since its start.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    processor_s: float
    peak_growth_bytes: int


def run(arguments: list[str], folder: Path, limit_s: float = 20.0) -> Outcome:
    """Run `rkdeploy ARGUMENTS` in a fork of the server, in which nothing is patched.

    Args:
        arguments: without the program's name.
        folder: the working directory; temporary files go into its `tmp`.
        limit_s: after this long it is killed.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([arguments, str(folder), limit_s]) + "\n")
    server.stdin.flush()
    return Outcome(**json.loads(server.stdout.readline()))


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The server of this process, which ends with it."""
    command = [sys.executable, "-m", "tests.hostile.command"]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)  # closes its standard input
    return server


def _serve() -> None:
    """Run what standard input asks for, one line each, until it ends."""
    # A command imports what it needs when it runs: that happens once here.
    for name in (
        "rkdeploy.device.runtime.onnxruntime",
        "rkdeploy.device.stream.pipeline",
        "rkdeploy.device.stream.sinks.images",
        "rkdeploy.device.stream.sinks.jsonl",
        "rkdeploy.device.stream.sources.image_files",
        "rkdeploy.host.building.build_stages",
    ):
        importlib.import_module(name)
    with contextlib.redirect_stdout(io.StringIO()):
        app(["inspect", str(ROOT / "tests" / "data" / "yolov5" / "v7_n.pt")], standalone_mode=False)
        with contextlib.suppress(RkdeployError):
            app(["build", "no.pt"], standalone_mode=False)  # its parser is made with the first line of arguments
    requests = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the commands' own
    gc.freeze()  # a collection in a fork would copy every page that has an object
    for line in requests:
        arguments, folder, limit_s = json.loads(line)
        print(json.dumps(asdict(run_patched(arguments, Path(folder), limit_s))), flush=True)


def run_patched(arguments: list[str], folder: Path, limit_s: float = 20.0) -> Outcome:
    """Run `rkdeploy ARGUMENTS` in a fork of this process, with what the test has patched.

    Args:
        arguments: as for `run`.
        folder: as for `run`.
        limit_s: as for `run`.
    """
    folder = folder.resolve()
    (folder / "tmp").mkdir(exist_ok=True)
    streams = [folder / "tmp.stdout", folder / "tmp.stderr"]
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(arguments, folder, streams)
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > limit_s:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    before = int((folder / "tmp.rss").read_text())
    out, err = (s.read_text(errors="replace") for s in streams)
    for file in (*streams, folder / "tmp.rss"):
        file.unlink()
    computed_s = usage.ru_utime + usage.ru_stime
    return Outcome(code, out, err, time.monotonic() - started, computed_s, usage.ru_maxrss * 1024 - before)


def _child(arguments: list[str], folder: Path, streams: list[Path]) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        (folder / "tmp.rss").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
        os.environ["TMPDIR"] = str(folder / "tmp")
        tempfile.tempdir = None
        for number, file in enumerate(streams, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115  (until the process ends)
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.argv = ["rkdeploy", *arguments]
        run_app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    except BaseException:  # noqa: BLE001  (it is what the test looks for)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def assert_refused(outcome: Outcome, folder: Path, *, says: str = "", limit_s: float = 10.0) -> None:
    """One message and exit code 1; nothing executed, nothing left behind, in bounded time and memory.

    Args:
        outcome: of the command.
        folder: its working directory.
        says: what the message must name.
        limit_s: how long it may have taken.
    """
    shown = f"{outcome.stdout}\n{outcome.stderr}"
    assert "Traceback" not in shown, shown
    assert outcome.code == 1, f"exit code {outcome.code} after {outcome.seconds:.1f} s: {shown}"
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, shown
    assert len(outcome.stderr) < 4000, f"{len(outcome.stderr)} characters: {outcome.stderr[:500]}"
    assert says in " ".join(outcome.stderr.split()), shown
    assert all(c.isprintable() or c == "\n" for c in shown), repr(shown)
    assert_nothing_left(folder)
    assert outcome.seconds < limit_s, f"{outcome.seconds:.1f} s"
    assert outcome.peak_growth_bytes < GIB, f"{outcome.peak_growth_bytes / GIB:.2f} GiB"


def assert_nothing_left(folder: Path) -> None:
    """No payload's marker, no bundle, no half of one, no temporary file."""
    assert not (folder / "executed").exists(), "a payload ran"
    assert not list((folder / "tmp").iterdir())
    out = folder / "out"
    left = [p for p in out.rglob("*") if not p.name.endswith("-failed.log")] if out.exists() else []
    assert not left, left
    assert not list(folder.rglob(f"*{_PARTIAL}*"))


def idle_toolkit(folder: Path) -> Path:
    """An interpreter for --toolkit-python that never answers: for builds that must fail before they ask it."""
    script = folder / "idle-toolkit"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    return script


def build_arguments(model: Path, folder: Path, *more: str) -> list[str]:
    """A build into `out` with the idle toolkit, and with the sample's calibration images unless others are given."""
    images = () if "--calib" in more else ("--calib", str(CALIBRATION))
    return ["build", str(model), "--out", "out", "--toolkit-python", str(idle_toolkit(folder)), *images, *more]


if __name__ == "__main__":
    _serve()
