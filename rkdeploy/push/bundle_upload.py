"""Data to send: of the files in a bundle's SHA256SUMS those that a board needs, or all, as one tar stream."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rkdeploy.contract.bundle import BUILD, CONTRACT, SUMS, Bundle
from rkdeploy.errors import PushError, shown

_LOG = logging.getLogger(__name__)

_NAME = re.compile(r"\w[\w.+-]{0,99}")
_FILE = re.compile(r"[^\x00-\x1f\x7f\\]{1,200}")  # sha256sum escapes other names


@dataclass(frozen=True, slots=True)
class BundleUpload:
    """A bundle, ready to be sent.

    Attributes:
        name: its name on the board: the folder's name and 12 digits of its hash.  The same bundle has the
            same name, however often it is pushed; another build of the same model has another.
        folder: folder of its files.
        files: their names, relative to `folder`; SHA256SUMS is the last.
        sums: the text of SHA256SUMS: the lines of these files, as they were checked.
        size_bytes: of all files.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    sums: bytes
    size_bytes: int

    @classmethod
    def of(cls, bundle: Bundle, *, everything: bool = False) -> BundleUpload:
        """The payload of a bundle that has been read and checked.

        A board runs, measures and reports with the model, its contract and its record. The ONNX files, the toolkit's
        files and the pictures, nine tenths of a bundle, are the host's.

        Args:
            bundle: read and checked.
            everything: whether those are sent too.

        Raises:
            PushError: when its name, or a file's, cannot be passed safely to a board's shell and tools.
        """
        folder = bundle.folder.resolve()
        if not _NAME.fullmatch(folder.name):
            raise PushError(
                f"The bundle's folder is named {shown(folder.name)}, expected letters, digits, and . _ + - only.",
                "Rename the folder; the bundle stays valid.",
            )
        needed = {CONTRACT, BUILD, bundle.model.file}
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if everything or line.partition("  ")[2] in needed]
        sums = "".join(f"{line}\n" for line in lines).encode()
        files = tuple(line.partition("  ")[2] for line in lines)
        for name in files:
            if not _FILE.fullmatch(name):
                raise PushError(f"The bundle has a file called {shown(name)}, which sha256sum cannot check.")
            if (folder / name).is_symlink():
                raise PushError(f'"{folder / name}" is a symbolic link, expected a file.', "Put the file in its place.")
        size = sum((folder / name).stat().st_size for name in files) + len(sums)
        _LOG.debug(
            "%d of the bundle's files, %d bytes%s", len(files) + 1, size, "" if everything else "; --all sends more"
        )
        short = hashlib.sha256(sums).hexdigest()[:12]
        return cls(f"{folder.name}-{short}", folder, (*files, SUMS), sums, size)

    def write_tar(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        """Write the files as a tar archive: owner root, mode 0644, no extensions, so that every board's tar reads it.

        Raises:
            PushError: when a file changed or disappeared meanwhile.
            OSError: when `stream` does not accept more.
        """
        with tarfile.open(fileobj=_CountingStream(stream, on_bytes), mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for name in self.files:
                entry = tarfile.TarInfo(name)
                if name == SUMS:
                    entry.size = len(self.sums)
                    tar.addfile(entry, io.BytesIO(self.sums))
                    continue
                path = self.folder / name
                try:
                    content = path.open("rb")
                except OSError as error:
                    raise PushError(f'Cannot read "{path}": {error.strerror}.') from error
                with content:
                    status = path.stat()
                    entry.size, entry.mtime = status.st_size, int(status.st_mtime)
                    try:
                        tar.addfile(entry, content)
                    except BrokenPipeError:
                        raise
                    except OSError as error:
                        raise PushError(f'Cannot read "{path}": {error}.') from error


class _CountingStream(io.RawIOBase):
    """A stream that reports the bytes written to it."""

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._stream, self._on_bytes = stream, on_bytes

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes only
        self._stream.write(block)
        self._on_bytes(len(block))
        return len(block)
