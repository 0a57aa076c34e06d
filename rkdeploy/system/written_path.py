"""Paths as people write them into lists and data.yaml files, also on Windows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_DRIVE: Final = re.compile(r"([A-Za-z]):[\\/]|\\\\")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def find_written(text: str, base: Path) -> Path:
    r"""The path that a line or an entry means, whether or not anything is there.

    What exists as it is written is taken.  Else blanks around it do not count, a backslash is a slash (`images\train`),
    and a drive (`D:\data`) is looked for where Linux on Windows has it, under `/mnt/d`.

    Args:
        text: as written.
        base: folder that it is relative to.
    """
    # normpath, not resolve: the names stay as the user knows them, links unfollowed
    words = text.strip()
    if "\\" not in words and words == text:
        return _joined(base, text)
    exact = _joined(base, text)
    if _exists(exact):
        return exact
    drive = _DRIVE.match(words)
    plain = words.replace("\\", "/")
    if drive is not None and drive[1] is not None:
        plain = f"/mnt/{drive[1].lower()}/{plain[drive.end() :]}"
    found = _joined(base, plain)
    return found if drive is None or _exists(found) else exact


def is_of_windows(text: str) -> bool:
    r"""Whether a path names a drive or a server as Windows does: `D:\data`, `\\server\share`."""
    return _DRIVE.match(text.strip()) is not None


def escaped_backslash(text: str) -> bool:
    r"""Whether a path holds what is left of a backslash in a YAML text in double quotes: `"images\train"` has a tab."""
    return _CONTROL.search(text) is not None


def _joined(base: Path, text: str) -> Path:
    return Path(os.path.normpath(base / text))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name
        return False
