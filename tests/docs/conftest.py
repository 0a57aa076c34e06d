"""The bundle that the pages speak of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="session")
def sample_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, built with all options at their defaults."""
    out = tmp_path_factory.mktemp("sample")
    command = [sys.executable, "-m", "rkdeploy", "build", "calib_data/best.pt", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=600)
    return out / "best-rk3588-int8"
