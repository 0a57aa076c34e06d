"""JSON documents: one writer and one reader for everything that the tools write.

A document is a frozen dataclass with two fields that have defaults: `document` says what it is, `schema_version` in
which version.  The bounds of its numbers are in its types (`rkdeploy.contract.bounds`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from rkdeploy.errors import RkdeployError, shown

MAX_BYTES: Final = 64 << 20
_TAG, _VERSION = "document", "schema_version"
_Found = TypeVar("_Found")


class _Heading(msgspec.Struct):
    document: str | None = None
    schema_version: int | str | None = 1


def document_name(kind: type[Any]) -> str:
    """The tag of a document: `rkdeploy profile`."""
    return str(_default(kind, _TAG))


def document_text(value: object) -> str:
    """A document as indented JSON, its tag and version first.

    It is ASCII, so that no name in it can drive a terminal.
    """
    plain: dict[str, Any] = msgspec.to_builtins(value, enc_hook=str)
    heading = {name: plain.pop(name) for name in (_TAG, _VERSION) if name in plain}
    return json.dumps({**heading, **plain}, indent=1) + "\n"


def read_document(path: Path, kinds: Sequence[type[_Found]], hint: str) -> _Found:
    """Read a document of one of several kinds.

    A file without a tag, as older releases wrote them, is read where only one kind is expected.

    Args:
        path: the file.
        kinds: documents that are expected.
        hint: for the messages: what to do.

    Raises:
        RkdeployError: missing, too large, not JSON, of another kind or version, or with figures out of bounds.
    """
    data = _read(path, hint)
    heading = _decoded(path, data, _Heading, "JSON with named fields", hint)
    kind = _chosen(path, heading, kinds, hint)
    expected = _default(kind, _VERSION)
    if heading.schema_version != expected:
        raise RkdeployError(
            f'"{path}" has schema version {shown(heading.schema_version)}, expected {expected}.',
            "Use the rkdeploy that wrote it, or write it again with this one.",
        )
    return _decoded(path, data, kind, f'a whole document "{document_name(kind)}"', hint)


def _chosen(path: Path, heading: _Heading, kinds: Sequence[type[_Found]], hint: str) -> type[_Found]:
    if heading.document is None and len(kinds) == 1:
        return kinds[0]
    named = {document_name(kind): kind for kind in kinds}
    if heading.document in named:
        return named[heading.document]
    expected = " or ".join(f'"{name}"' for name in named)
    if heading.document is None:
        raise RkdeployError(f'"{path}" has no field "{_TAG}", expected one that says {expected}.', hint)
    raise RkdeployError(f'"{path}" is a document {shown(heading.document)}, expected {expected}.', hint)


def _read(path: Path, hint: str) -> bytes:
    try:
        if not path.is_file():
            raise RkdeployError(f'"{path}" is not a file.', hint)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RkdeployError(f'"{path}" has {size} bytes, expected at most {MAX_BYTES}.', hint)
        return path.read_bytes()
    except OSError as error:
        raise RkdeployError(f'Cannot read "{path}": {error.strerror}.', hint) from error


def _decoded(path: Path, data: bytes, kind: type[_Found], expected: str, hint: str) -> _Found:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RkdeployError(f'"{path}" is not {expected}: {error}.', hint) from error


def _default(kind: type[Any], name: str) -> Any:
    return next(field.default for field in fields(kind) if field.name == name)
