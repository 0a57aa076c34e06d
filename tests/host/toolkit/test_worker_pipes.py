"""The end of the toolkit's process: its folder is removed, and nothing stays behind to watch it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ENDS = """
import os, sys
from pathlib import Path
from rkdeploy.host.toolkit.worker_pipes import remove_after_the_end

folder = Path(sys.argv[1])
remove_after_the_end(folder)
folder.mkdir()  # the toolkit writes once more
os._exit(1)
"""


def programs_with(text: str) -> list[str]:
    """Command lines that hold a text; a process that has ended has none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def test_the_folder_goes_with_a_process_that_is_not_reaped(tmp_path: Path) -> None:
    """Its number stays in use: in a container without an init, for example."""
    folder = tmp_path / "work"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", ENDS, str(folder)])  # not waited for: it stays a zombie
    deadline = time.monotonic() + 30
    while (folder.exists() or programs_with(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = folder.exists(), programs_with(str(folder))
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    process.wait()
    assert left == (False, [])
    assert state == "Z", "the test is about a process that was not reaped"
