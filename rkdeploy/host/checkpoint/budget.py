"""What reading one checkpoint file may cost: one account a file, however many pickles and entries it consists of."""

from __future__ import annotations

from dataclasses import dataclass

from rkdeploy.errors import CheckpointError

MAX_PICKLE_BYTES = 64 << 20
MAX_STEPS = 1_000_000  # a large model has 300,000; each makes at most some 200 bytes
_MAX_COPIED = 4_000_000  # characters; models copy some 10,000
_ELEMENT = 4  # one element of a container costs as much as so many characters
_MAX_CLASSES = 2_000  # a model names about 100; each takes a kilobyte
_MAX_UNPACKED = 512 << 20  # bytes; torch does not compress, so that only who packed a checkpoint again comes near


@dataclass(slots=True)
class Budget:
    """The account.

    Attributes:
        steps: opcodes that were executed; the unpickler counts them itself, which is where its time goes.
        copied: characters that constructors copied, an element of a container counted as four.
        classes: stand-ins for classes that were made.
        unpacked: bytes that compressed entries took, all together.

    Every method counts one kind of work or memory, and raises a CheckpointError when the file has used up what it may.
    """

    steps: int = 0
    copied: int = 0
    classes: int = 0
    unpacked: int = 0

    def copy(self, *values: object) -> None:
        """Count what is about to be copied or walked through: ten bytes of a pickle can ask for megabytes of it."""
        for value in values:
            if isinstance(value, (str, bytes, bytearray)):
                self.copied += len(value)
            elif isinstance(value, (list, tuple, dict, set, frozenset)):
                self.copied += _ELEMENT * len(value)
        if self.copied > _MAX_COPIED:
            raise CheckpointError("The checkpoint's pickle copies data over and over, which no model does.")

    def name_class(self) -> None:
        """Count one stand-in for a class."""
        self.classes += 1
        if self.classes > _MAX_CLASSES:
            raise CheckpointError(f"The checkpoint names more than {_MAX_CLASSES:,} classes, which no model does.")

    def unpack(self, size: int) -> None:
        """Count one compressed entry of `size` bytes, before it is unpacked."""
        self.unpacked += size
        if self.unpacked > _MAX_UNPACKED:
            raise CheckpointError(
                f"The checkpoint is compressed, and unpacks to more than {_MAX_UNPACKED >> 20} MiB.",
                "torch.save does not compress: use the file as it was saved.",
            )


class BoundedStream:
    """The pickles at the start of a file: read in order, 64 MiB at most, without a copy of what lies behind them.

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
            CheckpointError: at the end of what a pickle may take.
        """
        stop = self._end if size < 0 else min(self.position + size, self._end)
        self._require(size < 0 or self.position + size <= self._end)
        return self._take(stop)

    def readline(self) -> bytes:
        """Up to and with the next line feed.

        Raises:
            CheckpointError: as `read`.
        """
        start = self.position
        while start < self._end:  # in pieces: a view has no find
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
                f"The checkpoint describes its model in more than {MAX_PICKLE_BYTES >> 20} MiB, which no model needs."
            )

    def _take(self, stop: int) -> bytes:
        taken = bytes(self._data[self.position : stop])
        self.position = stop
        return taken
