"""Text files written by people: data.yaml, names, lists, labels, as editors on Linux and on Windows save them.

One rule for all.  UTF-8 is read, with or without a byte order mark; so is UTF-16 or UTF-32 that begins with its mark.
Everything else is rejected, with the fix.  GBK is not guessed: "camión" in Windows' western encoding is also valid GBK,
and would give a Chinese class name that the file does not contain.
"""

from __future__ import annotations

import codecs
import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_MARKS: Final = (  # the longer first: UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_PIECE_BYTES: Final = 4096
_SHOWN: Final = 12


class TextFileError(Exception):
    """The reason why a file is not read as text.

    Attributes:
        reason: the second half of a sentence that begins with the file's name, without its full stop.
        fix: a sentence that says what to do; may be empty.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a file, without its byte order mark.

    Args:
        path: the file.
        most_bytes: larger files are rejected unread.

    Raises:
        TextFileError: not a regular file, too large, unreadable, or in another encoding.
    """
    try:
        if path.exists() and not path.is_file():
            raise TextFileError("is a folder, device or pipe, expected a text file")
        size = path.stat().st_size
        if size > most_bytes:
            raise TextFileError(f"has {size} bytes, expected at most {most_bytes}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise TextFileError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return decode_text(data, path.name)


def has_mark(data: bytes) -> bool:
    """True if bytes begin with a byte order mark."""
    return data.startswith(tuple(mark for mark, _ in _MARKS))


def decode_text(data: bytes, name: str) -> str:
    """Decode bytes, without their byte order mark.

    Args:
        data: the whole file.
        name: of the file, for the command in the fix.

    Raises:
        TextFileError: in another encoding.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise _refused(data, encoding, len(mark) + error.start, name) from error
    if "\0" in text:
        raise TextFileError("holds NUL bytes, so it is not text, or UTF-16 without its mark", "Save it as UTF-8.")
    return text


def text_lines(text: str) -> list[str]:
    """The lines of a text, ended by LF, CRLF or CR only: other separators may be part of a name."""
    return _LINE_END.split(text)


def _refused(data: bytes, encoding: str, at: int, name: str) -> TextFileError:
    """The error for bytes that are not in the expected encoding."""
    line = data[:at].count(b"\n") + 1
    where = f"is not {encoding.upper()} text (line {line}, byte {at})"
    file = shlex.quote(name)
    looks = _as_gbk(data, at) if encoding == "utf-8" else ""
    if not looks:
        return TextFileError(where, "" if _is_binary(data) and not _is_wide(data) else "Save it as UTF-8.")
    return TextFileError(
        f'{where}; as GBK it would read "{looks}" there',
        "Save it as UTF-8: in the editor, or, if that is the right text, with  "
        f"iconv -f GB18030 -t UTF-8 {file} > utf8 && mv utf8 {file}",
    )


def _as_gbk(data: bytes, at: int) -> str:
    """The first characters at a byte, read as GB18030; empty if they are not valid."""
    if _is_binary(data):
        return ""
    piece = codecs.getincrementaldecoder("gb18030")
    try:
        text = piece().decode(data[at : at + _PIECE_BYTES])
    except UnicodeDecodeError:
        return ""
    word = re.split(r"[\s,:'\"\]}]", text, maxsplit=1)[0][:_SHOWN]
    return word if word.isprintable() else ""


def _is_wide(data: bytes) -> bool:
    """True if every second byte is mostly 0, as in UTF-16 of Latin letters without its mark."""
    piece = data[:_PIECE_BYTES]
    return any(len(half) > 0 and half.count(0) > len(half) / 2 for half in (piece[::2], piece[1::2]))


def _is_binary(data: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 27 for byte in data[:_PIECE_BYTES])
