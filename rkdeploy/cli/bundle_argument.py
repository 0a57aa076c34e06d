"""The bundle that a command works on: the one that is named, or the one near by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.cli.console import err, plain

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle


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
