"""The readers of a contract that docs/bundle.md shows, in Python and in C, print what stands below them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle
from rkdeploy.device.postprocess.native.compile import compiler
from tests.docs.pages import fenced

pytestmark = pytest.mark.slow  # the sample is built


@pytest.fixture
def folder(tmp_path: Path, sample_bundle: Bundle) -> Path:
    """A folder with the sample's contract where the page has it."""
    bundle = tmp_path / "build" / "best-rk3588-int8"
    bundle.mkdir(parents=True)
    shutil.copyfile(sample_bundle.folder / "contract.json", bundle / "contract.json")
    return tmp_path


def block(language: str, *, after: int = 0) -> str:
    """The only block of a language on the page, or the one that stands so many blocks later."""
    blocks = fenced("docs/bundle.md")
    (number,) = [number for number, (name, _) in enumerate(blocks) if name == language]
    return blocks[number + after][1]


def printed(command: list[str], folder: Path) -> str:
    """Output of a program on stdout."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


def test_python(folder: Path) -> None:
    """The Python reader needs nothing but the standard library."""
    assert printed([sys.executable, "-I", "-c", block("python")], folder) == block("python", after=1)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed: bash tests/needs.sh")
def test_c(folder: Path) -> None:
    """jq makes the header, a C compiler takes it."""
    printed(["bash", "-c", block("c", after=-1)], folder)
    (folder / "main.c").write_text(block("c"))
    printed([*compiler(), "-Wall", "-Werror", "main.c", "-o", "main"], folder)
    assert printed(["./main"], folder) == block("c", after=1)
