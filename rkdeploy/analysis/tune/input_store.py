"""Input sets of trials: folders of files, named by a hash of their content.

An input set is made once, by the process that searches.  Trials on this machine read it where it lies; a worker on
another machine gets it as one block of bytes, once, and unpacks it into a folder of its own.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.errors import RkdeployError

MAX_PARCEL_BYTES = 1 << 30
_NAME_DIGITS = 32
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


class InputStore:
    """Input sets in one folder, each a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def path(self, name: str) -> Path:
        """Folder of an input set."""
        return self.folder / name

    @contextmanager
    def fill(self) -> Iterator[tuple[Path, list[str]]]:
        """A folder to fill and a list; on leaving it becomes an input set, whose name is put into the list.

        Raises:
            RkdeployError: when it cannot be written.
        """
        named: list[str] = []
        try:
            with self._partial() as place:
                partial = Path(place)
                yield partial, named
                name = _name_of(partial)
                if name not in self:
                    partial.rename(self.path(name))
                named.append(name)
        except OSError as error:
            raise RkdeployError(
                f'The inputs of the trials cannot be written to "{self.folder}": {error.strerror or error}.',
                "Let TMPDIR name a folder with more room, or use fewer images (--count).",
            ) from error

    def packed(self, name: str) -> bytes:
        """An input set as one block of bytes.

        Raises:
            RkdeployError: when it is too large to be sent.
        """
        folder = self.path(name)
        files = _files(folder)
        size = sum(file.stat().st_size for file in files)
        if size > MAX_PARCEL_BYTES:
            have, most = size >> 20, MAX_PARCEL_BYTES >> 20
            raise RkdeployError(
                f"The inputs of the trials have {have} MiB, expected at most {most} MiB to send to workers.",
                "Measure on fewer images (--count), or search on this machine alone (no --scheduler).",
            )
        block = io.BytesIO()
        with zipfile.ZipFile(block, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in files:
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _FIXED_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with file.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        return block.getvalue()

    def unpack(self, name: str, block: bytes) -> None:
        """Bring an input set here that was packed elsewhere.

        Raises:
            RkdeployError: when it is not the input set of that name.
        """
        if name in self:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._partial() as partial, zipfile.ZipFile(io.BytesIO(block)) as archive:
                entries = archive.infolist()
                if sum(entry.file_size for entry in entries) > MAX_PARCEL_BYTES or any(
                    PurePosixPath(entry.filename).is_absolute() or ".." in PurePosixPath(entry.filename).parts
                    for entry in entries
                ):
                    raise RkdeployError("The inputs of a trial are not an input set of rkdeploy.")
                archive.extractall(partial)
                if _name_of(Path(partial)) != name:
                    raise _damaged()
                if name not in self:  # another thread of this worker may have been faster
                    Path(partial).rename(self.path(name))
        except zipfile.BadZipFile as error:
            raise _damaged() from error
        except OSError as error:
            if name not in self:
                raise RkdeployError(f'"{self.folder}" cannot be written: {error.strerror or error}.') from error

    def _partial(self) -> tempfile.TemporaryDirectory[str]:
        """A folder to fill, in the one that it is renamed into; removed where it was not."""
        return tempfile.TemporaryDirectory(prefix=".input-set-", dir=self.folder, ignore_cleanup_errors=True)


def _damaged() -> RkdeployError:
    return RkdeployError("The inputs of a trial were damaged on their way.", "Start the search again.")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _name_of(folder: Path) -> str:
    """A hash of the files' names and contents."""
    whole = hashlib.sha256()
    for file in _files(folder):
        whole.update(f"{file.relative_to(folder).as_posix()}\0{sha256_of(file)}\n".encode())
    return whole.hexdigest()[:_NAME_DIGITS]
