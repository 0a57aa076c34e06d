"""Leftovers of killed runs, and their removal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.images import ImagesSink
from rkdeploy.device.stream.sinks.video_writer import VideoSink
from rkdeploy.system.atomic_file import write_atomically
from rkdeploy.system.partial_file import PartialFile, clear_partials

FRAME = Frame(np.zeros((48, 64, 3), np.uint8), "somewhere/a.jpg", 0, 0.0)
# Writes one frame into a sink, says so, and waits to be killed.
WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.{module} import {name}
with {name}(Path({target!r}), ["a"]) as sink:
    sink.write(Frame(np.zeros((48, 64, 3), np.uint8), "somewhere/a.jpg", 0, 0.0), Detections.empty())
    print("written", flush=True)
    time.sleep(600)
"""
SINKS: dict[str, tuple[str, str, type[VideoSink]]] = {
    "mp4": ("video_writer", "VideoSink", VideoSink),
}


def started(suffix: str, target: Path) -> subprocess.Popen[str]:
    """A process that has begun to write `target`."""
    module, name, _ = SINKS[suffix]
    script = WRITER.format(module=module, name=name, target=str(target))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".partial" in path.name]


@pytest.mark.parametrize("suffix", SINKS)
def test_the_next_run_clears_what_killed_ones_left(suffix: str, tmp_path: Path) -> None:
    """Two kills leave two files; a run that goes on keeps its own, and the next start takes the others."""
    target = tmp_path / f"r.{suffix}"
    killed = [started(suffix, target) for _ in range(2)]
    alive = started(suffix, target)
    try:
        assert len(partials(tmp_path)) == 3
        for process in killed:
            process.kill()
            process.wait()
        with SINKS[suffix][2](target, ["a"]) as sink:
            sink.write(FRAME, Detections.empty())
            assert len(partials(tmp_path)) == 2, "its own, and that of the run that goes on"
        assert (target.is_file(), len(partials(tmp_path))) == (True, 1)
    finally:
        alive.kill()
        alive.wait()
    clear_partials(tmp_path)
    assert partials(tmp_path) == []


def test_an_interrupt_in_the_moment_of_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises it as the call returns that made the file, before its descriptor is kept."""
    made = os.open

    def interrupted(*arguments: Any, **keywords: Any) -> int:
        os.close(made(*arguments, **keywords))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", b"{}", clear=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_images_is_cleared_at_the_start(tmp_path: Path) -> None:
    """Whatever image a killed run was at; files of others that look alike stay."""
    left = [tmp_path / ".a.0123abcd.partial.jpg", tmp_path / ".b.c.00000000.partial.png"]
    others = [tmp_path / name for name in
              (".a.0123abcd.partially.jpg", "a.0123abcd.partial.jpg", ".a.0123abc.partial.jpg", ".a.partial.jpg",
               ".a.0123abcd.partial.jpg.orig", ".a.0123ABCD.partial.jpg")]  # fmt: skip
    for path in (*left, *others):
        path.write_bytes(b"x")
    (tmp_path / ".folder.0123abcd.partial.jpg").mkdir()
    outside = tmp_path.parent / "outside.jpg"
    outside.write_bytes(b"x")
    (tmp_path / ".link.0123abcd.partial.jpg").symlink_to(outside)
    with ImagesSink(tmp_path, ["a"]) as sink:
        sink.write(FRAME, Detections.empty())
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in (*others, outside, tmp_path / ".folder.0123abcd.partial.jpg"))


def test_a_report_clears_its_own_only(tmp_path: Path) -> None:
    """A file that is written alone takes what killed runs left of it, not of its neighbors."""
    mine, neighbors = tmp_path / ".r.01234567.partial.html", tmp_path / ".r2.01234567.partial.html"
    for path in (mine, neighbors):
        path.write_bytes(b"x")
    write_atomically(tmp_path / "r.html", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".r2.01234567.partial.html", "r.html"]


def test_a_file_in_use_is_kept(tmp_path: Path) -> None:
    """The lock tells, within one process too; once it is committed or discarded nothing is left."""
    first, second = PartialFile(tmp_path / "a.json"), PartialFile(tmp_path / "a.json")
    clear_partials(tmp_path)
    assert {first.path, second.path} == set(tmp_path.iterdir())
    first.path.write_text("first")
    first.commit()
    second.discard()
    second.discard()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "first")]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    """A name of 255 bytes leaves no room for a suffix: its partial file has a shorter one."""
    target = tmp_path / ("\u87ba" * 83 + "a.json")
    write_atomically(target, b"{}")
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_a_context_commits_or_discards(tmp_path: Path) -> None:
    """The file is there under its name when the context is left, and not at all after an exception."""
    target = tmp_path / "a.json"
    with PartialFile(target) as partial:
        partial.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    with pytest.raises(UnicodeEncodeError), PartialFile(target) as partial:
        partial.write_text("half \ud800")
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
