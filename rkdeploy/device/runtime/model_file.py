"""Header and trailer of a `.rknn` file, read without the vendor's runtime."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_BYTES = 64
_MAX_TRAILER_BYTES = 16 << 20
_CUSTOM_STRING = b'{"rkdeploy":'
_MAX_CUSTOM_STRING = 1023
_MAX_CUSTOM_STRING_PLACE = 1 << 20
_COPY_AGAIN = "Copy the bundle again, or build it again."


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Properties of a `.rknn` that decide whether a runtime can load it.

    Attributes:
        file_version: version of the file format, from the header.
        toolkit_version: of rknn-toolkit2, from the trailer; None if there is no readable trailer.
        targets: SoCs it was built for, lower case; empty when unknown.
    """

    file_version: int
    toolkit_version: str | None
    targets: tuple[str, ...]


def read_model_file(path: Path) -> ModelFile:
    """Read header and trailer of a `.rknn`.

    Layout (file versions 1 to 6): 64 bytes, "RKNN" and as uint64 number 1 the file version, number 2 the size of the
    model that follows; behind it a uint64 size and that many bytes of JSON.

    Raises:
        BackendError: when the file does not exist, is not a `.rknn`, or is truncated.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            if header[:4] == b"RKNN" and len(header) < _HEADER_BYTES:
                raise BackendError(
                    f'"{path}" ends too early: {len(header)} bytes, expected a header of {_HEADER_BYTES}.', _COPY_AGAIN
                )
            if header[:4] != b"RKNN":
                raise BackendError(f'"{path}" is not an RKNN model: it begins with {header[:8]!r}.', _COPY_AGAIN)
            version, model_bytes = struct.unpack_from("<QQ", header, 8)
            present = os.fstat(file.fileno()).st_size - _HEADER_BYTES
            if model_bytes > present:
                raise BackendError(
                    f'"{path}" ends too early: {present} bytes of model, expected {model_bytes}.', _COPY_AGAIN
                )
            file.seek(_HEADER_BYTES + model_bytes)
            trailer = file.read(_MAX_TRAILER_BYTES)
    except OSError as error:
        raise BackendError(f'Cannot read the model "{path}": {error.strerror}.', _COPY_AGAIN) from error
    toolkit_version, targets = _trailer_facts(trailer)
    return ModelFile(version, toolkit_version, targets)


def read_custom_string(path: Path) -> str | None:
    """The text that a build by rkdeploy put into a `.rknn`; None for other models.

    It is found by its first key and by the uint32 length before it, within the first megabyte.

    Raises:
        BackendError: when the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_CUSTOM_STRING_PLACE)
    except OSError as error:
        raise BackendError(f'Cannot read the model "{path}": {error.strerror}.', _COPY_AGAIN) from error
    place = start.find(_CUSTOM_STRING)
    if place < 4:
        return None
    size = struct.unpack_from("<I", start, place - 4)[0]
    text = start[place : place + size]
    return text.decode("ascii") if 0 < size <= _MAX_CUSTOM_STRING and len(text) == size and text.isascii() else None


def _trailer_facts(trailer: bytes) -> tuple[str | None, tuple[str, ...]]:
    """Toolkit version and targets; a trailer of a later file format counts as unknown, not as an error."""
    try:
        size = struct.unpack_from("<Q", trailer)[0]
        facts = json.loads(trailer[8 : 8 + size])
        version, targets = facts.get("version"), facts.get("target_platform", [])
    except (struct.error, ValueError, AttributeError, RecursionError):
        return None, ()
    known_targets = tuple(str(target).lower() for target in targets) if isinstance(targets, list) else ()
    return (version if isinstance(version, str) else None), known_targets
