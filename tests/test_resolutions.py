"""The cheaper part of `make test-resolutions`: all extras at once, and a handful of tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_lowest_and_newest_versions() -> None:
    """The wheel works with the lowest and with the newest versions that pyproject.toml allows."""
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("resolutions.py"), "--quick"],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5000:]
    assert len(re.findall(r"^\d+ passed", ran.stdout, re.MULTILINE)) == 2
