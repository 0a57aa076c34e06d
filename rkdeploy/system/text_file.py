"""Text files that people write: data.yaml, names, lists, labels, as editors on Linux and on Windows leave them.

One rule for all.  UTF-8 is read, with a byte order mark or without; so is UTF-16 or UTF-32 that begins with its mark.
Everything else is refused with the fix.  GBK is not guessed at: "camión" in Windows' western encoding is valid GBK
too, and gives a Chinese class name that nobody wrote.
"""

from __future__ import annotations

import codecs
import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_MARKS: Final = (  # the longer first: UTF-16's mark begins UTF-32's
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
    """Why a file is not read as text.

    Attributes:
        reason: the second half of a sentence that begins with the file's name, without its full stop.
        fix: a sentence that says what to do; empty where there is none.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a file, without its byte order mark.

    Args:
        path: the file.
        most_bytes: larger files are refused unread.

    Raises:
        TextFileError: no regular file, too large, unreadable, or in none of the encodings that are read.
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
    """Whether bytes begin with a byte order mark."""
    return data.startswith(tuple(mark for mark, _ in _MARKS))


def decode_text(data: bytes, name: str) -> str:
    """The text that bytes hold, without its byte order mark.

    Args:
        data: the whole file.
        name: of the file, for the fix's command.

    Raises:
        TextFileError: in none of the encodings that are read.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise _refused(data, encoding, len(mark) + error.start, name) from error
    if "\0" in text:
        raise TextFileError("holds NUL bytes, so it is no text, or UTF-16 without its mark", "Save it as UTF-8.")
    return text


def text_lines(text: str) -> list[str]:
    """The lines of a text: ended by LF, CRLF or CR, and by nothing else that a name may hold."""
    return _LINE_END.split(text)


def _refused(data: bytes, encoding: str, at: int, name: str) -> TextFileError:
    """What to say of bytes that are not in the encoding that they should be in."""
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
    """The first characters at a byte, read as GB18030; empty where they are none."""
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
    """Whether every second byte is mostly 0, as in UTF-16 of Latin letters without its mark."""
    piece = data[:_PIECE_BYTES]
    return any(len(half) > 0 and half.count(0) > len(half) / 2 for half in (piece[::2], piece[1::2]))


def _is_binary(data: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 27 for byte in data[:_PIECE_BYTES])
