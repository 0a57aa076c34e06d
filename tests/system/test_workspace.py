"""Temporary folders: gone with their process, and with the next one where that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.system.workspace import workspace

KILLED = """
import os, signal, sys
from pathlib import Path
from rkdeploy.system.workspace import workspace
with workspace(Path(sys.argv[1])) as folder:
    (folder / "input.npy").write_bytes(b"x" * 100)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_goes_with_its_process(tmp_path: Path) -> None:
    """Also when what was done in it failed."""

    def fail() -> None:
        with workspace(tmp_path) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_clears_after_a_killed_one(tmp_path: Path) -> None:
    """A folder whose process was killed goes; one in use, and one that is not ours, stay."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    other = tmp_path / "rkdeploy-tune-something-else"
    other.mkdir()
    with workspace(tmp_path) as first:
        assert not left.exists()
        with workspace(tmp_path) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert first != second
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == [other]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(RkdeployError, match="cannot be created") as caught, workspace(tmp_path / "missing"):
        pass
    assert "TMPDIR" in caught.value.hint


def test_nobody_else_can_look(tmp_path: Path) -> None:
    """The images of a search are for its user alone."""
    with workspace(tmp_path) as folder:
        assert folder.stat().st_mode & 0o077 == 0
