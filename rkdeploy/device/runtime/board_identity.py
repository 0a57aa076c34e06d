"""Identification of the board: its SoC and the version of its NPU driver, from the files of the kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_COMPATIBLE = "proc/device-tree/compatible"
_DRIVER_FILES = ("sys/kernel/debug/rknpu/version", "sys/module/rknpu/version", "proc/rknpu/version")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SOC = re.compile(r"rockchip,(r[kv]\d{4}[a-z]?\d?)$")


@dataclass(frozen=True, slots=True)
class Board:
    """The board's SoC and NPU driver.

    Attributes:
        soc: `rk3588`, `rk3588s`, ...; None if this is not a Rockchip board.
        driver: version of the rknpu kernel driver; None if no readable file gives it (debugfs is for root only).
    """

    soc: str | None
    driver: str | None


def read_board(sysroot: Path = Path("/")) -> Board:
    """Read the board's SoC and driver.

    Args:
        sysroot: folder that contains `proc` and `sys`.
    """
    found = [m[1] for entry in _text(sysroot / _COMPATIBLE).split("\0") if (m := _SOC.match(entry))]
    driver = next((m[0] for name in _DRIVER_FILES if (m := _VERSION.search(_text(sysroot / name)))), None)
    return Board(found[-1] if found else None, driver)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii", "replace")
    except OSError:
        return ""
