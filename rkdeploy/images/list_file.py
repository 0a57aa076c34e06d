"""List files: texts that name one image per line."""

from __future__ import annotations

from pathlib import Path

from rkdeploy.errors import SourceError, shown
from rkdeploy.system.text_file import TextFileError, read_text, text_lines
from rkdeploy.system.written_path import find_written, is_of_windows

_MAX_LIST_BYTES = 256 << 20


def paths_in_list(list_file: Path) -> tuple[Path, ...]:
    """The paths in a text file, in its order: one per line, relative to the list; `#` begins a comment line.

    Encodings as in `rkdeploy.system.text_file`, paths as in `rkdeploy.system.written_path`.  The files need not exist.

    Raises:
        SourceError: when the list cannot be read, is not a text file, names nothing, or names a Windows drive that
            is not mounted here.
    """
    try:
        text = read_text(list_file, _MAX_LIST_BYTES)
    except TextFileError as error:
        raise SourceError(
            f'List file "{list_file}" {error.reason}.',
            error.fix or "Expected a text file with one image path per line.",
        ) from error
    lines = [line.strip() for line in text_lines(text)]
    written = [line for line in lines if line and not line.startswith("#")]
    if not written:
        raise SourceError(f'List file "{list_file}" names no image.', "Write one image path per line, relative to it.")
    paths = tuple(find_written(line, list_file.parent) for line in written)
    for line, path in zip(written, paths, strict=True):
        if is_of_windows(line) and not path.exists():
            raise SourceError(
                f'List file "{list_file}" names {shown(line)}, a path of a Windows machine.',
                "Write the paths relative to the list file.",
            )
    return paths
