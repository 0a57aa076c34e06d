"""The bundle that a function works on."""

from __future__ import annotations

import os
from pathlib import Path

from rkdeploy.contract.bundle import Bundle, find_bundle, read_bundle


def bundle_of(named: str | os.PathLike[str] | Bundle | None) -> Bundle:
    """A bundle as it is; the one of a folder or `.rknn`; for None the one near by.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    if isinstance(named, Bundle):
        return named
    return find_bundle(Path())[0] if named is None else read_bundle(Path(named))
