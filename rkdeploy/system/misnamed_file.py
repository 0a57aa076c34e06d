"""Files that are not what their name says, recognized by their first bytes, for error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES: Final = 256
_SIGNATURES: Final = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself", "Get the file: git lfs pull"),
    (b"<!doctype html", "it is a web page", "Download the file itself, not the page about it."),
    (b"<html", "it is a web page", "Download the file itself, not the page about it."),
    (b"pk\x03\x04", "it is a zip archive, as a checkpoint is", "Restore its original name, such as best.pt."),
    (b"rknn", "it is a compiled model (.rknn)", "Give the checkpoint or the ONNX file that it was made from."),
)


def misnamed(path: Path) -> tuple[str, str] | None:
    """The actual kind of a file and what to do, two texts; None if its first bytes are not known or cannot be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_READ_BYTES).lstrip().lower()
    except OSError:
        return None
    return next(((what, fix) for mark, what, fix in _SIGNATURES if start.startswith(mark)), None)
