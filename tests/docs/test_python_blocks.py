"""Every Python block of the pages runs, in a folder that has the files it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.contract.bundle import Bundle
from tests.api.test_front import write_video
from tests.docs.pages import NAMES, ROOT, read

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(match[1], id=f"{name}:{read(name)[: match.start()].count(chr(10)) + 1}")
    for name in NAMES
    for match in _BLOCK.finditer(read(name))
]


@pytest.fixture(scope="module")
def folder(sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for the pages' programs: a bundle in build/, a checkpoint, images with labels, a video."""
    place = tmp_path_factory.mktemp("program")
    shutil.copytree(sample_bundle.folder, place / "build" / "best-rk3588-int8")
    (place / "images").mkdir()
    for path in sorted((ROOT / "calib_data" / "images" / "val").iterdir())[:16]:
        shutil.copyfile(path, place / "images" / path.name)
    for name in ("photo.jpg", "street.jpg"):
        shutil.copyfile(ROOT / "calib_data" / "images" / "val" / f"val_000{len(name) % 3}.jpg", place / name)
    shutil.copyfile(ROOT / "calib_data" / "best.pt", place / "best.pt")
    shutil.copytree(ROOT / "calib_data" / "labels" / "val", place / "labels")
    (place / "data.yaml").write_text(
        "path: .\ntrain: images\nval: images\nnames: [bolt, nut, washer]\n", encoding="utf-8"
    )
    write_video(place, 10).rename(place / "video.avi")
    return place


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block: str, folder: Path) -> None:
    """As a program of its own; it prints something."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", block]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_there_are_blocks() -> None:
    """The search finds them; printed, so that their number is known."""
    print(f"{len(BLOCKS)} Python blocks on the pages are run")
    assert len(BLOCKS) >= 8
