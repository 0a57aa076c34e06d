"""The cheaper part of `make test-resolutions`: all extras at once, and a handful of tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.uv import variables


@pytest.mark.slow
def test_lowest_and_newest_versions() -> None:
    """The wheel works with the lowest and with the newest versions that pyproject.toml allows."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.resolutions", "--quick"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5000:]
    assert len(re.findall(r"^\d+ passed", ran.stdout, re.MULTILINE)) == 2


def test_uv_takes_the_index_of_pip() -> None:
    """The option of the command wins over the general one, the variable over both, and a folder must exist."""
    listed = """:env:.find-links='/wheels file:///no/such/folder'
global.index-url='https://one/simple'
global.extra-index-url='\\nhttps://two/simple\\nhttps://three/simple'
install.index-url='https://four/simple'
wheel.index-url='https://five/simple'
global.timeout='60'
"""
    assert variables(listed) == {
        "UV_FIND_LINKS": "/wheels",
        "UV_DEFAULT_INDEX": "https://four/simple",
        "UV_INDEX": "https://two/simple https://three/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert variables("") == {}
