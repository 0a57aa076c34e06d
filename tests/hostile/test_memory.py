"""Memory for reading a large checkpoint."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from tests.hostile.forge import Forgery, find_tensor, replace_arguments

MIB = 1 << 20
MEASURED = """
import pathlib, sys
from rkdeploy.cli.entry import main
try:
    main()
finally:
    sys.stderr.write(pathlib.Path("/proc/self/status").read_text())
"""
COUNT, ELEMENTS = 5, 50_000_000  # five storages of 200 MB


def large_checkpoint(path: Path) -> None:
    """A good model with a gigabyte of further float32, in a sparse file: it takes a few hundred kilobytes."""
    forgery = Forgery()
    weight = find_tensor(forgery.layer("0.conv").state["_parameters"]["weight"])
    parameters = forgery.layer("0").state["_parameters"]
    for index in range(COUNT):
        large = type(weight)(*weight.arguments)
        storage = type(weight.arguments[0])(
            ("storage", *weight.arguments[0].identity[1:2], f"large{index}", "cpu", 2 * ELEMENTS)
        )
        replace_arguments(large, storage=storage, offset=0, size=(2 * ELEMENTS,), stride=(1,))
        parameters[f"large{index}"] = large
    forgery.write(path)
    with zipfile.ZipFile(path, "a") as archive:
        for index in range(COUNT):
            add_hole(archive, f"archive/data/large{index}", 4 * ELEMENTS)


def add_hole(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """A stored entry of zeros that are never written."""
    assert archive.fp is not None
    entry = zipfile.ZipInfo(name)
    entry.header_offset, entry.file_size, entry.compress_size, entry.CRC = archive.start_dir, size, size, 0
    archive.fp.seek(archive.start_dir)
    archive.fp.write(
        struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, size, size, len(name), 0) + name.encode()
    )
    archive.fp.seek(size, 1)
    archive.start_dir = archive.fp.tell()
    archive.filelist.append(entry)
    archive._didModify = True  # type: ignore[attr-defined]


def test_a_gigabyte_costs_little_to_inspect(tmp_path: Path) -> None:
    """inspect of a checkpoint with a gigabyte of weights reads none of them."""
    file = tmp_path / "large.pt"
    large_checkpoint(file)
    assert file.stat().st_size > 1000 * 1_000_000
    assert file.stat().st_blocks * 512 < 2 * MIB
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, "inspect", file], capture_output=True, text=True, check=True
    )
    seconds = time.monotonic() - started
    peak = re.search(r"VmHWM:\s+(\d+) kB", result.stderr)
    assert peak is not None
    assert "500,0" in result.stdout
    assert int(peak[1]) * 1024 < 200 * MIB, result.stderr
    assert seconds < 5
