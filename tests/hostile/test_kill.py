"""Builds that are killed, terminated or interrupted, with the real toolkit: a whole bundle or none, and no orphans."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rkdeploy.contract.bundle import read_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "calib_data"
MODEL = ROOT / "tests" / "data" / "yolov5" / "v5_last.pt"
BUNDLE = "v5_last-rk3588-int8"
MOMENTS = 10

pytestmark = pytest.mark.slow
SMALL = ("--imgsz", "64", "--calib-count", "2", "--proof-count", "2", "--min-agreement", "0", "--no-remedies")


class Build:
    """A build in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stdout = folder / "stdout.txt"
        (folder / "tmp").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "rkdeploy", "build", MODEL, "--calib", SAMPLE, "--out", "out"]
        self.process = subprocess.Popen(
            [*map(str, command), *SMALL],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
            stdout=self.stdout.open("w"),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, sign: signal.Signals) -> tuple[int, str, str]:
        """Send a signal to the parent alone."""
        self.process.send_signal(sign)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, self.said_so_far(), err

    def said_so_far(self) -> str:
        """Its standard output until now."""
        return self.stdout.read_text()

    def children(self) -> list[int]:
        """Processes, toolkits among them, that work in this build's temporary folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if str(self.folder / "tmp") in command:
                    found.append(int(entry.name))
        return found

    def assert_no_orphans(self, within_s: float = 60.0) -> None:
        """The toolkit of a killed build ends when it next releases the GIL: seconds, on a busy machine."""
        deadline = time.monotonic() + within_s
        while self.children() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not self.children()


def whole_build(folder: Path) -> float:
    """Seconds of a build that is not killed."""
    started = time.monotonic()
    build = Build(folder)
    _, errors = build.process.communicate(timeout=120)
    assert build.process.returncode == 0, errors
    return time.monotonic() - started


def partials(folder: Path) -> list[Path]:
    return list((folder / "out").glob(".*")) if (folder / "out").exists() else []


def left_by_toolkits(folder: Path) -> list[Path]:
    return [p for p in (folder / "tmp").iterdir() if p.is_dir() and any(p.iterdir())]


def assert_whole_or_absent(folder: Path) -> bool:
    """True if there is a bundle; an existing one must be complete."""
    if not (folder / "out" / BUNDLE).exists():
        return False
    read_bundle(folder / "out" / BUNDLE, check_hashes=True)
    return True


def test_killed_builds_leave_a_whole_bundle_or_none(tmp_path: Path) -> None:
    """kill -9 at ten moments spread over a build: no bundle, or the old one, or a whole new one; the next clears up."""
    rng = random.Random(7)
    typical_s, older = whole_build(tmp_path), tmp_path / "older"
    moments = sorted((i + rng.random()) * typical_s / MOMENTS for i in range(MOMENTS))
    shutil.move(tmp_path / "out" / BUNDLE, older)
    old = read_bundle(older).record.created
    present: list[bool] = []
    for index, moment in enumerate(moments):
        if index == 5 and not present[-1]:  # from here on over an older bundle
            shutil.move(older, tmp_path / "out" / BUNDLE)
        build = Build(tmp_path)
        time.sleep(moment)
        build.end(signal.SIGKILL)
        build.assert_no_orphans()
        present.append(assert_whole_or_absent(tmp_path))
        if index >= 5:
            assert present[-1], "the older bundle stays until the new one is whole"
            assert read_bundle(tmp_path / "out" / BUNDLE).record.created >= old
    whole_build(tmp_path)
    assert not partials(tmp_path), "what the killed builds left is cleared by the next one"
    deadline = time.monotonic() + 30
    while left_by_toolkits(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_by_toolkits(tmp_path), "the toolkit's folders go with it"


def starting(build: Build) -> bool:
    """True when the program takes signals itself, before it imports anything else."""
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{build.process.pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def described(build: Build) -> bool:
    """True when the checkpoint is read and its head found."""
    return "Input " in build.said_so_far()


def converting(build: Build) -> bool:
    """True when the toolkit's process works."""
    return bool(build.children())


def wait_until(stage: Callable[[Build], bool], build: Build) -> None:
    """Poll until the build is in a stage, however fast the machine is.  Fails when the build ends before."""
    while not stage(build):
        assert build.process.poll() is None, f"the build ended before it was interrupted: {build.process.communicate()}"
        time.sleep(0.005)


@pytest.mark.parametrize("stage", [starting, described, converting])
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_builds_leave_nothing(
    sign: signal.Signals, code: int, stage: Callable[[Build], bool], tmp_path: Path
) -> None:
    """Ctrl-C and SIGTERM end a build at once with their exit code, one word, and nothing left behind."""
    build = Build(tmp_path)
    wait_until(stage, build)
    started = time.monotonic()
    returned, out, err = build.end(sign)
    assert returned == code, err
    assert time.monotonic() - started < 10
    assert "Traceback" not in out + err
    said = [line for line in err.splitlines() if line and not re.match(r"warning: ", line)]
    assert said == ["terminated" if sign == signal.SIGTERM else "interrupted"]
    build.assert_no_orphans()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not list((tmp_path / "tmp").iterdir())
