"""The bundle that a build replaces: every trainer names its result best.pt, so it may belong to another model.

A bundle of the same model is replaced.  One of another model is kept as `NAME.previous`, before the new one
takes its place: whenever the process dies, the old bundle is in one of the two places.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path

from rkdeploy.contract.bundle import CONTRACT, PARTIAL, PREVIOUS, SUMS, Bundle, read_bundle
from rkdeploy.contract.record import BuildRecord
from rkdeploy.errors import BundleError, RkdeployError, shown


def replaced_note(folder: Path, sha256: str, input_hw: tuple[int, int]) -> str:
    """A sentence for the user; empty if the place is free, or holds the same model at the same size.

    Args:
        folder: folder of the new bundle.
        sha256: of the checkpoint or ONNX file that is built.
        input_hw: (height, width) of the new bundle's network, in pixels.
    """
    if is_of_another(folder, sha256):
        record, kept = _record(folder), _kept_already(folder) or _free_place(folder)
        whose = "a bundle of unknown origin"
        if record is not None:
            whose = f"the bundle of another {shown(record.source.file)[1:-1]}, built {record.created[:10]}"
        return (
            f'"{folder}" is {whose}. It will be kept as "{kept}" when this build succeeds. '
            "--name gives each model a name of its own."
        )
    old = _bundle(folder)
    if old is None or (old.spec.input.height, old.spec.input.width) == input_hw:
        return ""
    size = f"{old.spec.input.width}x{old.spec.input.height} (width x height)"
    return f'This build replaces the bundle "{folder}", which is for {size}. --name or another --out keeps both.'


def is_of_another(folder: Path, sha256: str) -> bool:
    """True if a folder holds a bundle that came from another file, or does not say from which."""
    if not (folder / CONTRACT).is_file():
        return False
    record = _record(folder)
    return record is None or record.source.sha256 != sha256


def keep_replaced(folder: Path, sha256: str) -> Path | None:
    """Keep the bundle of another model next to its place, and return where; None if there is nothing to keep.

    Call it when the new bundle is complete, before it takes the place.  A bundle that is already kept is not kept
    twice.

    Raises:
        BundleError: when it cannot be kept; then it must not be replaced.
    """
    if not is_of_another(folder, sha256):
        return None
    kept = _kept_already(folder)
    if kept is not None:
        return kept
    kept = _free_place(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}{PARTIAL}{os.getpid()}-", dir=folder.parent) as place:
            copy = Path(shutil.copytree(folder, f"{place}/kept", copy_function=_linked))
            copy.rename(kept)
    except (OSError, shutil.Error) as error:
        raise BundleError(
            f'The bundle of another model, "{folder}", cannot be kept as "{kept}": {error}.',
            "Move it away, or give this build another --name.",
        ) from error
    return kept


def _linked(source: str, target: str) -> str:
    """A hard link to a file, which takes no space; a copy if the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _kept_already(folder: Path) -> Path | None:
    """The place where this very bundle is already kept."""
    sums = _sums(folder)
    return next((place for place in _places(folder) if sums and _sums(place) == sums), None)


def _places(folder: Path) -> list[Path]:
    """The places in use, `NAME.previous`, `NAME.previous-2`, ..."""
    every = (folder.with_name(f"{folder.name}{PREVIOUS}{f'-{n}' if n > 1 else ''}") for n in itertools.count(1))
    return list(itertools.takewhile(os.path.lexists, every))


def _free_place(folder: Path) -> Path:
    taken = len(_places(folder))
    return folder.with_name(f"{folder.name}{PREVIOUS}{f'-{taken + 1}' if taken else ''}")


def _sums(folder: Path) -> bytes:
    try:
        return (folder / SUMS).read_bytes()
    except OSError:
        return b""


def _bundle(folder: Path) -> Bundle | None:
    try:
        return read_bundle(folder, check_hashes=False)
    except RkdeployError:  # none, or a damaged one
        return None


def _record(folder: Path) -> BuildRecord | None:
    bundle = _bundle(folder)
    try:
        return bundle.record if bundle is not None else None
    except RkdeployError:
        return None
