"""Signals at any moment of a command: its exit code, one word, and no module that is half imported."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "calib_data"
ENDS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def started(arguments: list[str], folder: Path, **options: object) -> subprocess.Popen[str]:
    """A process that has taken its signals."""
    process = subprocess.Popen(  # type: ignore[call-overload]  # options are Popen's
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    end = time.monotonic() + 20
    while not (_mask(process.pid, "SigCgt") >> (signal.SIGTERM - 1)) & 1:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    return process  # type: ignore[no-any-return]


def ended(number: signal.Signals, first: str, folder: Path) -> str:
    """Rest of the output of `program.py`, which ends by a signal that it gets once it has printed its first line."""
    process = started(["program.py"], folder)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{first}\n"
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (128 + number, "")
    return stdout


def _mask(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1], 16) if found else 0


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDS)
def test_a_command_ends_at_any_moment(number: signal.Signals, tmp_path: Path) -> None:
    """From its first lines through the imports of numpy, cv2 and onnx into its work."""
    for step in range(list(ENDS).index(number), 18, len(ENDS)):  # together they are at 18 moments
        process = started(["-m", "rkdeploy", "build", str(SAMPLE / "best.pt"), "--calib", str(SAMPLE)], tmp_path)
        time.sleep(step * 0.08)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
        assert (process.returncode, stderr) == (128 + number, f"{ENDS[number]}\n"), f"after {step * 0.08:.2f} s"
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ENDS)
def test_an_import_that_drops_exceptions_is_waited_for(number: signal.Signals, tmp_path: Path) -> None:
    """As extension modules do; the signal takes effect when the module is there."""
    (tmp_path / "module.py").write_text(
        "import time\n"
        "for _ in range(40):\n"
        "    try:\n"
        "        print('importing', flush=True)\n"
        "        time.sleep(0.01)\n"
        "    except BaseException:\n"
        "        print('dropped', flush=True)\n"
    )
    (tmp_path / "program.py").write_text(
        "import time\n"
        "from rkdeploy.system.end_signals import take_end_signals\n"
        "take_end_signals()\n"
        "try:\n"
        "    import module\n"
        "    time.sleep(60)\n"
        "finally:\n"
        "    print('unwound', module.__name__)\n"
    )
    stdout = ended(number, "importing", tmp_path)
    assert "dropped" not in stdout
    assert stdout.splitlines()[-1] == "unwound module"


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_within_a_destructor_is_not_lost(number: signal.Signals, tmp_path: Path) -> None:
    """Python ignores exceptions there; the signal takes effect behind it."""
    (tmp_path / "program.py").write_text(
        "import time\n"
        "from rkdeploy.system.end_signals import take_end_signals\n"
        "class Slow:\n"
        "    def __del__(self):\n"
        "        print('deleting', flush=True)\n"
        "        time.sleep(60)\n"
        "take_end_signals()\n"
        "slow = Slow()\n"
        "try:\n"
        "    del slow\n"
        "    time.sleep(60)\n"
        "finally:\n"
        "    print('unwound')\n"
    )
    assert ended(number, "deleting", tmp_path) == "unwound\n"


def test_other_ignored_exceptions_are_shown(tmp_path: Path) -> None:
    """Also a SystemExit that no signal raised."""
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from rkdeploy.system.end_signals import take_end_signals\n"
        "class Wrong:\n"
        "    def __init__(self, code):\n"
        "        self.code = code\n"
        "    def __del__(self):\n"
        "        sys.exit(self.code)\n"
        "take_end_signals()\n"
        "Wrong(3)\n"
        "Wrong(143)\n"
        "print('goes on')\n"
    )
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("Exception ignored in")) == (0, "goes on\n", 2)


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """`nohup rkdeploy ...` outlives its terminal."""
    process = started(
        ["-m", "rkdeploy", "inspect", str(SAMPLE / "best.pt")],
        tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.kill(process.pid, signal.SIGHUP)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert "YOLOv5" in stdout
