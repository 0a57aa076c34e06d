"""The two file formats of torch.save: a zip archive (since torch 1.6) and the older sequence of pickles."""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import CheckpointError, shown
from rkdeploy.host.checkpoint.budget import MAX_PICKLE_BYTES, BoundedStream, Budget
from rkdeploy.host.checkpoint.tensor import NUMPY_DTYPES, Storage
from rkdeploy.host.checkpoint.unpickler import StandInUnpickler
from rkdeploy.system.misnamed_file import misnamed

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_MAX_EXPANSION = 20  # weights hardly compress; a higher ratio cannot be a checkpoint
_MAX_DIRECTORY_BYTES = 8 << 20  # the zip's table; 80 bytes per storage, of which a large model has 3,000
_RETRAIN = "Copy the file again, or export it again where it was trained."


@dataclass(slots=True)
class _MappedCheckpoint:
    """The checkpoint as mapped memory: pages are only read with a tensor, and belong to the page cache."""

    path: Path
    data: mmap.mmap
    budget: Budget = field(default_factory=Budget)

    def slice(self, start: int, size: int) -> NDArray[np.uint8]:
        if start < 0 or size < 0 or start + size > len(self.data):
            raise CheckpointError(f'"{self.path.name}" is truncated: data ends at {len(self.data)} bytes. {_RETRAIN}')
        return np.frombuffer(self.data, np.uint8, count=size, offset=start)


def read_pickled(path: Path) -> Any:
    """Read a file that torch.save wrote, as plain data, `StandIn`s and `LazyTensor`s.  Nothing is executed.

    Raises:
        CheckpointError: the file does not exist, is not a checkpoint, is damaged, or names things that are not model
            data.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f'"{path}" is a {"folder" if path.is_dir() else "device or pipe"}, expected a file.')
        with path.open("rb") as stream:
            if stream.seek(0, io.SEEK_END) == 0:
                raise CheckpointError(f'"{path}" is empty.', _RETRAIN)
            file = _MappedCheckpoint(path, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise CheckpointError(f'Cannot read "{path}": {error.strerror or error}.') from error
    read = _read_zip if file.data[:4] == b"PK\x03\x04" else _read_legacy
    try:
        return read(file)
    except CheckpointError:
        raise
    except (pickle.UnpicklingError, EOFError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise CheckpointError(f'"{path}" is not a complete checkpoint: {error}.', _RETRAIN) from error
    except Exception as error:  # any exception that a damaged or hostile pickle causes in the unpickler
        raise CheckpointError(f'"{path}" is damaged: {type(error).__name__}: {error!s:.200}', _RETRAIN) from error


def _read_zip(file: _MappedCheckpoint) -> Any:
    with _Directory(file.path, "rb") as stream, zipfile.ZipFile(stream) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        _check_totals(file, list(entries.values()))
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            what = "a TorchScript archive" if any(n.endswith("constants.pkl") for n in entries) else "a zip file"
            raise CheckpointError(
                f'"{file.path.name}" is {what} without one data.pkl, expected a checkpoint that torch.save wrote.'
            )
        if any(n.endswith("constants.pkl") for n in entries):
            raise CheckpointError(
                f'"{file.path.name}" is a TorchScript archive, expected a training checkpoint.',
                "Use the best.pt of the training run, not its exported .torchscript.",
            )
        root = pickles[0].rpartition("/")[0]
        prefix = f"{root}/" if root else ""
        if f"{prefix}byteorder" in entries and _Entry(file, entries[f"{prefix}byteorder"]).read().tobytes() == b"big":
            raise CheckpointError(f'"{file.path.name}" was written on a big-endian machine, which is not supported.')
        storages: dict[str, Storage] = {}

        def storage(dtype: str, key: str, numel: int) -> Storage:
            if key not in storages:
                entry = entries.get(f"{prefix}data/{key}")
                if entry is None:
                    raise CheckpointError(f'"{file.path.name}" has no data for storage "{key}".', _RETRAIN)
                _check_size(entry.file_size, dtype, key, numel)
                storages[key] = Storage(key, dtype, numel, _Entry(file, entry).read)
            return storages[key]

        if entries[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f'"{file.path.name}" describes its model in {entries[pickles[0]].file_size} bytes.')
        pickled = io.BytesIO(_Entry(file, entries[pickles[0]]).read().tobytes())
        return StandInUnpickler(pickled, storage, file.budget).load()


class _Directory(io.FileIO):
    """The file as zipfile reads it: its table in one piece, with a limit on its size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY_BYTES:
            raise CheckpointError(f"The file has a zip table of {size} bytes, more than any checkpoint has.")
        return super().read(size) or b""


def _check_totals(file: _MappedCheckpoint, entries: list[zipfile.ZipInfo]) -> None:
    """Reject entries that unpack to too much data, or that overlap.

    Raises:
        CheckpointError: for such an entry.
    """
    unpacked = sum(info.file_size for info in entries)
    packed = sum(i.file_size if i.compress_type == zipfile.ZIP_STORED else i.compress_size for i in entries)
    if unpacked > _MAX_EXPANSION * len(file.data):
        raise CheckpointError(
            f'"{file.path.name}" would unpack from {len(file.data)} to {unpacked} bytes; this is not a checkpoint.'
        )
    if packed > len(file.data):
        raise CheckpointError(f'"{file.path.name}" has {len(file.data)} bytes, and {packed} in its table.', _RETRAIN)


def _check_size(stored_bytes: int, dtype: str, key: str, numel: int) -> None:
    expected = numel * (np.dtype(NUMPY_DTYPES[dtype]).itemsize if dtype else 1)
    if stored_bytes != expected:
        raise CheckpointError(
            f'Storage "{key}" holds {stored_bytes} bytes, expected {expected} ({numel} x {dtype or "byte"}).', _RETRAIN
        )


@dataclass(slots=True)
class _Entry:
    """One entry of the archive; unpacked and checked against its checksum once, however many tensors view it."""

    file: _MappedCheckpoint
    info: zipfile.ZipInfo
    data: NDArray[np.uint8] | None = None

    def read(self) -> NDArray[np.uint8]:
        """The entry's bytes: a view of the file if it is not compressed, else the unpacked data.

        Never more than the table says: zipfile would unpack an entry with a wrong size completely before it checks.
        """
        if self.data is None:
            data = self._unpacked()
            # torch can omit the checksums; they are zero then.
            if data.size != self.info.file_size or (self.info.CRC and zlib.crc32(data.data) != self.info.CRC):
                raise self._damaged("its checksum is wrong")
            self.data = data
        return self.data

    def _unpacked(self) -> NDArray[np.uint8]:
        info, start = self.info, self._start()
        if info.compress_type == zipfile.ZIP_STORED:
            return self.file.slice(start, info.file_size)
        if info.compress_type != zipfile.ZIP_DEFLATED:
            raise CheckpointError(f'"{self.file.path.name}" is compressed by a method that torch does not use.')
        self.file.budget.unpack(info.file_size)
        packed = self.file.slice(start, info.compress_size)
        try:
            unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed.data, info.file_size + 1)
        except zlib.error as error:
            raise self._damaged("it cannot be unpacked") from error
        return np.frombuffer(unpacked, np.uint8)

    def _start(self) -> int:
        header = self.file.slice(self.info.header_offset, _LOCAL_HEADER.size).tobytes()
        signature, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        if signature != b"PK\x03\x04":
            raise CheckpointError(
                f'"{self.file.path.name}" has no entry {shown(self.info.filename)} where its table says.', _RETRAIN
            )
        return self.info.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f'Entry {shown(self.info.filename)} of "{self.file.path.name}" is damaged: {why}.', _RETRAIN
        )


def _read_legacy(file: _MappedCheckpoint) -> Any:
    """Read the older format: magic number, protocol, system, the object, the list of storage keys, then all storages'
    bytes.
    """
    stream = BoundedStream(memoryview(file.data))
    storages: dict[str, Storage] = {}

    def storage(dtype: str, key: str, numel: int) -> Storage:
        return storages.setdefault(key, Storage(key, dtype, numel))

    def load() -> Any:
        return StandInUnpickler(stream, storage, file.budget).load()

    try:
        magic = load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        what, fix = misnamed(file.path) or ("neither a zip archive nor a pickle", _RETRAIN)
        raise CheckpointError(f'"{file.path.name}" is not a checkpoint: {what}.', fix) from error
    if magic != _LEGACY_MAGIC:
        raise CheckpointError(f'"{file.path.name}" is a pickle, but not one that torch.save wrote.')
    load()  # protocol version
    system = load()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError(f'"{file.path.name}" was written on a big-endian machine, which is not supported.')
    value = load()
    keys = load()
    if not isinstance(keys, list):
        raise CheckpointError(f'"{file.path.name}" has no list of storages.', _RETRAIN)
    position = stream.position
    for key in keys:
        held = storages.get(key) if isinstance(key, str) else None
        if held is None or held.read is not None:
            what = "that no tensor uses" if held is None else "twice"
            raise CheckpointError(f'"{file.path.name}" holds a storage {shown(key)} {what}.', _RETRAIN)
        (numel,) = struct.unpack("<q", file.slice(position, 8).tobytes())
        size = numel * (np.dtype(NUMPY_DTYPES[held.dtype]).itemsize if held.dtype else 1)
        if numel != held.numel:
            raise CheckpointError(f'Storage "{key}" holds {numel} elements, expected {held.numel}.', _RETRAIN)
        file.slice(position + 8, size)  # it must exist
        held.read = _slice_reader(file, position + 8, size)
        position += 8 + size
    for key, unread in storages.items():
        if unread.read is None:
            raise CheckpointError(f'"{file.path.name}" has no data for storage "{key}".', _RETRAIN)
    return value


def _slice_reader(file: _MappedCheckpoint, start: int, size: int) -> Callable[[], NDArray[np.uint8]]:
    return lambda: file.slice(start, size)
