"""Paths as people write them into lists and data.yaml files, also on Windows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_DRIVE: Final = re.compile(r"([A-Za-z]):[\\/]|\\\\")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def find_written(text: str, base: Path) -> Path:
    r"""The path meant by a line or an entry; it need not exist.

    A path that exists as written is taken.  Otherwise surrounding blanks are removed, a backslash is a slash
    (`images\train`), and a drive (`D:\data`) is looked for where Linux on Windows mounts it, under `/mnt/d`.

    Args:
        text: as written.
        base: folder that it is relative to.
    """
    # normpath, not resolve: the user's names stay, and links are not followed
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
    r"""True if a path begins with a Windows drive or server: `D:\data`, `\\server\share`."""
    return _DRIVE.match(text.strip()) is not None


def escaped_backslash(text: str) -> bool:
    r"""True if a path contains a control character left by a backslash in a double-quoted YAML text:
    `"images\train"`.
    """
    return _CONTROL.search(text) is not None


def _joined(base: Path, text: str) -> Path:
    return Path(os.path.normpath(base / text))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # name too long
        return False
