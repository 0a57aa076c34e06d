"""File names that are not valid text: Linux allows any bytes, and Python represents non-UTF-8 bytes as lone surrogates.

OpenCV crashes on them, and JSON cannot represent them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def readable_name(name: str) -> str:
    r"""A name as printable text: bytes that are not UTF-8 as `\xe9`; other names unchanged."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@contextmanager
def path_for_opencv(path: Path) -> Iterator[str]:
    """A path that OpenCV can open within the context, whatever the names of the file and its folders.

    It is absolute: FFmpeg takes text before a colon for a protocol.

    Raises:
        OSError: when the file, or the folder of a file to be created, cannot be opened.
    """
    whole = str(path.absolute())
    if readable_name(whole) == whole:
        yield whole
        return
    by_file = path.exists() and readable_name(path.name) != path.name
    descriptor = os.open(path if by_file else path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}" + ("" if by_file else f"/{path.name}")
    finally:
        os.close(descriptor)
