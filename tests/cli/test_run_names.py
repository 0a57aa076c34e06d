"""`rkdeploy run` on files whose names are not valid text, or contain control sequences for a terminal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.test_run import VAL, run, write_video

NAMES = (
    b"caf\xe9.jpg",  # Latin-1
    b"\xff\xfe.png",
    b"new\nerror: line.jpg",
    b"\x1b[2J\x1b]0;owned\x07.jpg",
    "螺母.jpg".encode(),
    b"-rf.jpg",
    b'quote".jpg',
    b"back\\slash.jpg",
    b"[bold]markup[red].jpg",
    b"n" * 251 + b".jpg",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image under each name, and two in the middle that cannot be read."""
    images = tmp_path / "images"
    images.mkdir()
    for name in NAMES:
        shutil.copy(VAL / "val_0000.jpg", images / os.fsdecode(name))
    for name in (b"broken\xff.jpg", b"broken\x1b[2J.jpg"):
        (images / os.fsdecode(name)).write_bytes(b"\xff\xd8\xff junk")
    return images


def test_bad_names_do_not_end_a_run(folder: Path, tmp_path: Path) -> None:
    """Every image is run, drawn under its own name, and named by its bytes in the JSON lines; two are left out."""
    result = run(folder, "--save", tmp_path / "o", "-o", tmp_path / "o.jsonl")
    assert result.returncode == 0, result.stderr
    assert sorted(os.fsencode(path.name) for path in (tmp_path / "o").iterdir()) == sorted(NAMES)
    text = (tmp_path / "o.jsonl").read_bytes().decode("ascii")
    sources = [os.fsencode(Path(json.loads(line)["source"]).name) for line in text.splitlines()]
    assert sorted(sources) == sorted(NAMES)
    assert result.stderr.count("Left out.") == 2
    only_text(result.stdout + result.stderr)


def test_bad_names_on_the_terminal(folder: Path) -> None:
    """A line an image, whatever its name holds: no escape codes, no line of its own for what follows a line feed."""
    result = run(folder)
    assert result.returncode == 0, result.stderr
    only_text(result.stdout + result.stderr)
    assert len([line for line in result.stderr.splitlines() if "[0]" in line or ": " in line]) >= len(NAMES)
    assert not [line for line in result.stderr.splitlines() if line.startswith("error")]


@pytest.mark.parametrize("name", [b"caf\xe9", b"new\nline", b"\x1b[2J"])
def test_bad_names_of_videos_and_folders(name: bytes, tmp_path: Path) -> None:
    """A video in a folder, both named so, is run; its drawn copy has a name that can be read."""
    place = tmp_path / os.fsdecode(name)
    place.mkdir()
    video = place / (os.fsdecode(name) + ".avi")
    write_video(tmp_path / "v.avi", 4).rename(video)
    result = run(video, "--save", place / "o", "-o", place / "o.jsonl")
    assert result.returncode == 0, result.stderr
    lines = (place / "o.jsonl").read_text("ascii").splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2, 3]
    assert os.fsencode(json.loads(lines[0])["source"]) == os.fsencode(video)
    (drawn,) = (place / "o").iterdir()
    assert drawn.suffix == ".mp4"
    only_text(result.stdout + result.stderr)


def only_text(shown: str) -> None:
    assert "Traceback" not in shown
    assert all(c.isprintable() or c == "\n" for c in shown), repr(shown)
