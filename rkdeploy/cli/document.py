"""Documents that a command writes: where they can go, and that they went there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rkdeploy.cli.console import err, plain
from rkdeploy.errors import RkdeployError


def check_target(output: Path | None) -> None:
    """Refuse a place where nothing can be written, before the work.

    Raises:
        RkdeployError: a folder stands there, or there is no folder for it.
    """
    from rkdeploy.system.atomic_file import refuse_folder

    if output is None:
        return
    refuse_folder(output)
    if not output.parent.is_dir():
        raise RkdeployError(f'"{output}" cannot be written: there is no folder "{output.parent}".')


def write_document(text: str, output: Path) -> None:
    """Write a file whole, and say so on stderr."""
    from rkdeploy.system.atomic_file import write_atomically

    data = text.encode()
    write_atomically(output, data)
    err.print(f"Written: {plain(str(output))}  ({len(data) / 1024:,.0f} KiB)")


def print_result(text: str, table: Callable[[], None], *, as_json: bool, output: Path | None) -> None:
    """Give a command's result: the table or, with --json, the document on stdout; the document in a file besides.

    Args:
        text: the document, JSON.
        table: prints it for people.
        as_json: whether --json was given.
        output: the file of --output.
    """
    if as_json:
        print(text, end="")
    else:
        table()
    if output is not None:
        write_document(text, output)
