"""Limits on the cost of reading one checkpoint file: one account per file, however many pickles and entries it has."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.errors import CheckpointError

MAX_PICKLE_BYTES = 64 << 20
MAX_STEPS = 1_000_000  # a large model has 300,000; each makes at most some 200 bytes
_MAX_COPIED = 4_000_000  # characters; models copy some 10,000
_ELEMENT = 4  # one element of a container costs as much as so many characters
_MAX_CLASSES = 2_000  # a model names about 100; each takes a kilobyte
_MAX_UNPACKED = 512 << 20  # bytes; torch does not compress, so only a repacked checkpoint comes near


@dataclass(slots=True)
class Budget:
    """The account of one file.

    Attributes:
        steps: executed opcodes, counted by the unpickler itself because they take most of its time.
        copied: characters copied by constructors; an element of a container counts as four.
        classes: stand-ins for classes created.
        unpacked: bytes of compressed entries, all together.

    Every method counts one kind of work or memory, and raises a CheckpointError when the file has used up its budget.
    """

    steps: int = 0
    copied: int = 0
    classes: int = 0
    unpacked: int = 0

    def copy(self, *values: object) -> None:
        """Count values before they are copied or traversed: ten bytes of a pickle can cause megabytes of work."""
        for value in values:
            if isinstance(value, (str, bytes, bytearray)):
                self.copied += len(value)
            elif isinstance(value, (list, tuple, dict, set, frozenset)):
                self.copied += _ELEMENT * len(value)
        if self.copied > _MAX_COPIED:
            raise CheckpointError("The checkpoint's pickle copies data over and over, which a model does not do.")

    def name_class(self) -> None:
        """Count one stand-in for a class."""
        self.classes += 1
        if self.classes > _MAX_CLASSES:
            raise CheckpointError(f"The checkpoint names more than {_MAX_CLASSES:,} classes, more than any model has.")

    def unpack(self, size: int) -> None:
        """Count one compressed entry of `size` bytes, before it is unpacked."""
        self.unpacked += size
        if self.unpacked > _MAX_UNPACKED:
            raise CheckpointError(
                f"The checkpoint is compressed, and unpacks to more than {_MAX_UNPACKED >> 20} MiB.",
                "torch.save does not compress: use the file as it was saved.",
            )


class BoundedStream:
    """The pickles at the start of a file: read in order, 64 MiB at most, without a copy of the data behind them.

    Args:
        data: the file's bytes.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._end = min(len(self._data), MAX_PICKLE_BYTES)
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer at the end of the file.

        Raises:
            CheckpointError: when the pickles exceed their limit.
        """
        stop = self._end if size < 0 else min(self.position + size, self._end)
        self._require(size < 0 or self.position + size <= self._end)
        return self._take(stop)

    def readline(self) -> bytes:
        """Read up to and including the next line feed.

        Raises:
            CheckpointError: see `read`.
        """
        start = self.position
        while start < self._end:  # in pieces: a memoryview has no `find`
            piece = bytes(self._data[start : min(start + (1 << 16), self._end)])
            found = piece.find(b"\n")
            if found >= 0:
                return self._take(start + found + 1)
            start += len(piece)
        self._require(holds=False)
        return self._take(self._end)

    def _require(self, holds: bool) -> None:  # noqa: FBT001
        if not holds and self._end < len(self._data):
            raise CheckpointError(
                f"The checkpoint describes a model in more than {MAX_PICKLE_BYTES >> 20} MiB, more than any needs."
            )

    def _take(self, stop: int) -> bytes:
        taken = bytes(self._data[self.position : stop])
        self.position = stop
        return taken
