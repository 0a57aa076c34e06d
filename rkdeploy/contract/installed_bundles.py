"""Bundles that `rkdeploy push` has put onto this board, by their names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from rkdeploy.contract.bundle import BOARD_HOME, CONTRACT

_HASH: Final = re.compile(r"-[0-9a-f]{12}$")
"""Suffix that push adds to the name of a bundle."""


def installed_bundle(name: str) -> Path | None:
    """Folder of a bundle on this board; of several builds of one name the one pushed last.

    Args:
        name: of the bundle, with or without the hash that `rkdeploy push` adds to it.

    Returns:
        None if none has that name.
    """
    place = Path(os.environ.get("RKDEPLOY_HOME") or BOARD_HOME) / "bundles"
    if not name or "/" in name or "\x00" in name:
        return None
    try:
        found = [p for p in place.iterdir() if p.name == name or _HASH.sub("", p.name) == name]
        written = {p: p.stat().st_mtime_ns for p in found if (p / CONTRACT).is_file()}
    except OSError:  # no such folder: not a board, or nothing was pushed
        return None
    return max(written, key=lambda p: written[p], default=None)
