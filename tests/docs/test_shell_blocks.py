"""Short commands are run: each does what its page says and prints the output below it.

Figures may differ (times, rates, versions); words may not.  Commands that need the vendor's toolkit, a board, a camera
or minutes are left to `test_commands_shown.py`, which parses them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle
from tests.docs.pages import NAMES, ROOT, Shown, shown_lines

# What takes the toolkit, a board, a camera, a window, a server or another file than the sample's.
_ELSEWHERE = re.compile(
    r"simulator|--toolkit-python|--then|--camera|--show|--web|--record|--replay|--data\b|/var/lib|main/|user@"
    r"|\b(profile|eval)\.json|\.mp4|\.streams|rtsp://|sudo|-fp16|rk9999"
)
_AT_ONCE = {"inspect", "run", "doctor", "report", "--version"}


def is_cheap(shown: Shown, arguments: list[str]) -> bool:
    """Tell whether a call takes a moment: it reads or runs the sample, or is a build that fails before the toolkit."""
    if not arguments or _ELSEWHERE.search(shown.line):
        return False
    return arguments[0] in _AT_ONCE or (arguments[0] == "build" and shows_failure(shown))


def shows_failure(shown: Shown) -> bool:
    """Tell whether the page shows an error below the command."""
    return any(line.startswith("error:") for line in shown.output)


def cheap_lines() -> list[Shown]:
    """The shell lines of all pages that consist of such a call, each line once."""
    lines: dict[tuple[str, tuple[str, ...]], Shown] = {}
    for name in NAMES:
        for shown in shown_lines(name):
            calls = list(shown.calls("rkdeploy"))
            if len(calls) == 1 and is_cheap(shown, calls[0]):
                lines.setdefault((shown.line, shown.output), shown)
    return list(lines.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample_bundle: Bundle) -> Path:
    """Files that a reader of the pages has: the sample, its bundle, own images, an untrusted file."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "calib_data").symlink_to(ROOT / "calib_data")
    (folder / "best.pt").symlink_to(ROOT / "calib_data" / "best.pt")
    shutil.copytree(sample_bundle.folder, folder / "build" / "best-rk3588-int8")
    (folder / "images").mkdir()
    for image in sorted((ROOT / "calib_data" / "images" / "val").iterdir())[:3]:
        shutil.copyfile(image, folder / "images" / image.name)
    for graph in ("v6.onnx", "v4_raw.onnx"):
        shutil.copyfile(ROOT / "tests" / "data" / "onnx" / graph, folder / graph)
    with zipfile.ZipFile(folder / "hostile.pt", "w") as archive:  # os.system("true"), as pickle writes it
        archive.writestr("hostile/data.pkl", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
        archive.writestr("hostile/version", b"3\n")
    (folder / "line.toml").write_text('sources = ["images"]\n')
    (folder / "parts").mkdir()
    return folder


@cache
def run(line: str, folder: Path) -> tuple[int, str]:
    """Run a shell line as a reader does.

    Args:
        line: one line, with its pipes and redirections.
        folder: the working directory; one below it if the line refers to its parent.

    Returns:
        The exit code, and stdout with stderr.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", line],
        cwd=folder / "parts" if " ../" in line else folder,
        env={**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout


def unmatched(shown: tuple[str, ...], printed: str) -> list[str]:
    """The lines of a page that a program did not print, whatever their figures, folders and line breaks."""
    text = _without_figures(printed)
    lines = [_without_figures(line) for line in shown if "/home/you" not in line]
    return [line for line in lines if line not in {"", "..."} and line not in text]


def _without_figures(text: str) -> str:
    return " ".join(re.sub(r"\d[\d.,]*", "#", text).split())


@pytest.mark.slow  # the sample is built, once for all tests
@pytest.mark.parametrize("shown", [pytest.param(line, id=f"{line.page}: {line.line}"[:120]) for line in cheap_lines()])
def test_a_shown_command_does_what_the_page_says(shown: Shown, folder: Path) -> None:
    """It succeeds, or fails with the error that is shown; the words of its output are those on the page."""
    if "jq" in shown.line and shutil.which("jq") is None:
        pytest.skip("jq is not installed: bash tests/needs.sh")
    code, printed = run(shown.line, folder)
    assert code == (1 if shows_failure(shown) else 0), printed
    assert "Traceback" not in printed
    assert unmatched(shown.output, printed) == [], printed


@pytest.mark.parametrize(("command", "least"), [("inspect", 2), ("run", 3), ("build", 4), ("report", 1)])
def test_enough_is_run(command: str, least: int) -> None:
    """The choice of what is run does not become empty unnoticed."""
    assert sum(command in arguments[:1] for line in cheap_lines() for arguments in line.calls("rkdeploy")) >= least


def test_other_words_are_found() -> None:
    """Figures may differ, words may not."""
    assert unmatched(("Verified  36,288 rows", "..."), "x\nVerified 7 rows\n") == []
    assert unmatched(("Verified  36,288 lines",), "Verified 36,288 rows") == ["Verified # lines"]
