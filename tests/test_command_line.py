"""The command line in process against the same in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import rkdeploy

SAMPLE = Path(__file__).parents[1] / "calib_data" / "best.pt"


def unnamed(text: str) -> str:
    """Without the name of the program in usage lines, which is the name of what `python -m` runs."""
    return re.sub(r"python -m [\w.]+", "rkdeploy", text)


@pytest.mark.parametrize("arguments", [["--version"], ["inspect", str(SAMPLE)], ["inspect", "none.pt"], ["build"]])
def test_it_is_as_in_a_process(arguments: list[str], tmp_path: Path) -> None:
    """Exit code, output and messages are the same to the letter."""
    command = [sys.executable, "-m", "rkdeploy", *arguments]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    here = rkdeploy(*arguments, cwd=tmp_path)
    assert (here.returncode, here.stdout) == (process.returncode, process.stdout)
    assert unnamed(here.stderr) == unnamed(process.stderr)


def test_everything_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folder, environment, arguments, signal handlers and streams; what was written at the descriptors is caught."""

    def command() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert (sys.argv, dict(os.environ), Path.cwd()) == (["rkdeploy", "x"], {"ONE": "1"}, tmp_path)
        os.environ["TWO"] = "2"
        os.write(1, b"below\n")
        print("wrong", file=sys.stderr)
        raise ValueError("broken")

    monkeypatch.setattr("tests.command_line.run_app", command)
    before = (Path.cwd(), dict(os.environ), sys.argv, signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr)
    done = rkdeploy("x", cwd=tmp_path, env={"ONE": "1"})
    assert before == (Path.cwd(), dict(os.environ), sys.argv, signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr)
    assert (done.returncode, done.stdout) == (1, "below\n")
    assert done.stderr.startswith("wrong\nTraceback")
    assert done.stderr.endswith("ValueError: broken\n")


def test_an_interrupt_ends_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is not an exit code of a command."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.command_line.run_app", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rkdeploy()
