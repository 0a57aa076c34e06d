"""Pictures of the accuracy bench: which may calibrate and which measure, by content and not by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.images.file import is_image_name


@dataclass(frozen=True, slots=True)
class PictureSplit:
    """Pictures of one model.

    Attributes:
        pool: file of each hash that calibration may draw from.
        measured: file of each hash that only measures.
    """

    pool: dict[str, Path]
    measured: dict[str, Path]


def pictures_in(folder: Path) -> list[Path]:
    """The image files of a folder and the folders in it."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and is_image_name(file.name))


def split(files: Iterable[Path], measure: int, labeled: Iterable[Path] = ()) -> PictureSplit:
    """Split pictures, in the order of their hashes.

    Args:
        files: pictures; of those with the same content one is kept.
        measure: largest number that measures; never more than a third.
        labeled: pictures with labels, which never calibrate.

    Raises:
        ValueError: when too few are left to calibrate on.
    """
    unique = {sha256_of(file): file for file in files}
    order = sorted(unique)
    count = min(measure, len(order) // 3)
    kept_out = {*order[:count], *(sha256_of(file) for file in labeled)}
    pool = {key: unique[key] for key in order if key not in kept_out}
    if count < 1 or len(pool) < 2:
        raise ValueError(f"{len(order)} different pictures are too few to calibrate on some and measure on others.")
    return PictureSplit(pool, {key: unique[key] for key in order[:count]})


def require_apart(calibrated: Iterable[str], measuring: Iterable[str]) -> None:
    """Check the hashes that a build recorded.

    Raises:
        ValueError: when a picture that measures was calibrated on.
    """
    common = set(calibrated) & set(measuring)
    if common:
        raise ValueError(f"{len(common)} pictures that measure were calibrated on, such as {min(common)[:12]}.")
