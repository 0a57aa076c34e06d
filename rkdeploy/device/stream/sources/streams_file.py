"""Files of streams (`.streams`): one source per line, with an optional name.

# the yard
gate = rtsp://user:password@10.0.0.7/cam1
rtsp://10.0.0.8/cam1
/dev/video0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.errors import SourceError
from rkdeploy.system.text_file import TextFileError, read_text, text_lines

if TYPE_CHECKING:
    from pathlib import Path

STREAMS_SUFFIX: Final = ".streams"
MAX_STREAMS: Final = 64
"""Largest number of sources in a file: each is read by a thread of its own."""
_MAX_BYTES: Final = 1 << 20
_FORM: Final = "Write one address per line (rtsp://...), with a name if wanted: gate = rtsp://10.0.0.7/cam1"


@dataclass(frozen=True, slots=True)
class ListedStream:
    """One line of a file of streams.

    Attributes:
        text: the source, as `open_source` takes it; may hold a password.
        name: what messages and results call it; empty without one.
    """

    text: str
    name: str = ""


def streams_in(file: Path) -> tuple[ListedStream, ...]:
    """The sources in a file, in its order; `#` begins a comment line, and ` = ` is between a name and its source.

    Raises:
        SourceError: when the file cannot be read, is not a text file, names nothing or too many, has a name twice, or
            names another such file.
    """
    try:
        text = read_text(file, _MAX_BYTES)
    except TextFileError as error:
        raise SourceError(f'File of streams "{file}" {error.reason}.', error.fix or _FORM) from error
    lines = [line.strip() for line in text_lines(text)]
    found = tuple(_listed(line) for line in lines if line and not line.startswith("#"))
    if not found:
        raise SourceError(f'File of streams "{file}" names no source.', _FORM)
    if len(found) > MAX_STREAMS:
        raise SourceError(f'File of streams "{file}" names {len(found)} sources, at most {MAX_STREAMS} are possible.')
    names = [one.name for one in found if one.name]
    twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if twice is not None:
        raise SourceError(f'File of streams "{file}" has the name "{twice}" twice.', "Give every source its own name.")
    if any(one.text.lower().endswith(STREAMS_SUFFIX) for one in found):
        raise SourceError(f'File of streams "{file}" names another file of streams.', _FORM)
    return found


def _listed(line: str) -> ListedStream:
    name, separator, text = line.partition(" = ")
    if not separator or "://" in name:  # an address may hold the separator, a name is not one
        return ListedStream(line)
    return ListedStream(text.strip(), name.strip())
