"""The bundle that a command works on: its first argument, or the bundle near by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rkdeploy.cli.console import err, plain

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle

_SOURCE_LIKE = re.compile(r"://|[*?\[]|\.\w{1,7}$|^\d+$|^-?$")
"""An address, a pattern, a file name with a suffix, a number: a source, whether it is there or not."""


def chosen_bundle(named: Path | None, *, installed: bool = True, quiet: bool = False) -> Bundle:
    """Read the bundle.

    Args:
        named: its folder or its `.rknn`; None looks near the working directory and says which was taken.
        installed: whether the board's current bundle counts where none is near by.
        quiet: whether to say nothing.

    Raises:
        BundleError: there is none, or it is not whole.
    """
    from rkdeploy.contract.bundle import find_bundle, read_bundle

    if named is not None:
        return read_bundle(named)
    found, sentence = find_bundle(Path(), installed=installed)
    if not quiet:
        err.print(plain(sentence))
    return found


def bundle_and_sources(words: Sequence[str], *, more_follow: bool = False) -> tuple[Path | None, tuple[str, ...]]:
    """The arguments `[BUNDLE] [SOURCE]...`, distinguished by the kind of the first one.

    A bundle's folder or a `.rknn` is the bundle; so is a path that does not exist and does not look like a source, if
    something follows that can be the source.

    Args:
        words: as typed.
        more_follow: True if something else is the source: a camera, or the command's default.

    Returns:
        The bundle, None if none is named; the sources.

    Raises:
        typer.BadParameter: for a second bundle.
    """
    if not words:
        return None, ()
    from rkdeploy.contract.bundle import names_bundle  # late: the contract's types take as long to import as all else

    first, rest = words[0], tuple(words[1:])
    missing = not _exists(first) and not _SOURCE_LIKE.search(first) and bool(rest or more_follow)
    if not (names_bundle(Path(first)) or missing):
        first, rest = "", tuple(words)
    second = next((word for word in rest if names_bundle(Path(word))), None)
    if second is not None:
        raise typer.BadParameter(
            f'"{second}" is a bundle; give one bundle, as the first argument, then the sources.', param_hint="BUNDLE"
        )
    return (Path(first) if first else None), rest


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError):  # a name that is too long, or with a NUL character
        return False
