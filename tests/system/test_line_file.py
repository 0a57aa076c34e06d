"""Files of lines: what a reader sees while they are written, and after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.errors import RkdeployError
from rkdeploy.system.line_file import LineFile

# Writes lines without an end, until it is killed.
WRITER = """
import sys
from pathlib import Path
from rkdeploy.system.line_file import LineFile
with LineFile(Path(sys.argv[1]), keep=sys.argv[2] == "keep") as file:
    number = 0
    while True:
        file.write('{"number": %d, "rest": "%s"}' % (number, "x" * 5000))
        number += 1
        if number == 50:
            print("50", flush=True)
"""


@pytest.mark.parametrize("mode", ["keep", "replace"])
def test_a_killed_writer_leaves_whole_lines(mode: str, tmp_path: Path) -> None:
    """At most the line under way is lost, and the next writer removes its beginning."""
    target = tmp_path / "lines.jsonl"
    target.write_text('{"number": -1, "rest": ""}\n')
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), mode], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "50\n"
        process.send_signal(signal.SIGKILL)
    before = target.read_bytes()
    *whole, rest = before.split(b"\n")
    assert len(whole) >= 50
    assert all(line.startswith(b'{"number"') and line.endswith(b'"}') for line in whole)
    assert rest == b"" or len(rest) < 5100
    with LineFile(target, keep=True) as file:
        file.write("{}")
    assert target.read_bytes() == b"\n".join([*whole, b"{}", b""])
    with LineFile(target, keep=False) as file:
        file.write("[]")
    assert target.read_bytes() == b"[]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["lines.jsonl"], "what was set aside by the killed one is gone"


@pytest.mark.parametrize(
    ("earlier", "then"),
    [
        ('{"a": 1}\n{"a": 2, "b', '{"a": 1}\n{}\n'),
        ('{"a": 1}\n{"a": 2}', '{"a": 1}\n{"a": 2}\n{}\n'),
        ("words of a person", "words of a person\n{}\n"),
        ("", "{}\n"),
    ],
)
def test_appended_lines_begin_on_a_line_of_their_own(earlier: str, then: str, tmp_path: Path) -> None:
    """A line that was cut short is removed; one that only lacks its end, or is none of ours, stays."""
    target = tmp_path / "a.jsonl"
    target.write_text(earlier)
    with LineFile(target, keep=True) as file:
        file.write("{}")
    assert target.read_text() == then


@pytest.mark.parametrize("keep", [True, False])
def test_two_writers_of_one_file_are_refused(keep: bool, tmp_path: Path) -> None:
    """The second one says so, and changes nothing."""
    target = tmp_path / "a.jsonl"
    with LineFile(target, keep=keep) as file:
        file.write("1")
        for other in (True, False):
            with pytest.raises(RkdeployError, match="is being written by another run"), LineFile(target, keep=other):
                pass
        file.write("2")
    assert target.read_text() == "1\n2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_file_that_is_rotated_goes_on_at_its_beginning(tmp_path: Path) -> None:
    """As logrotate does with `copytruncate`."""
    target = tmp_path / "a.jsonl"
    with LineFile(target, keep=True) as file:
        file.write("1")
        target.write_bytes(b"")
        file.write("2")
    assert target.read_text() == "2\n"
