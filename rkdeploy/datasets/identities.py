"""Images of identities, persons, faces or things: one folder for each, and perhaps a list of pairs as LFW has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rkdeploy.datasets.data_yaml import relative_posix
from rkdeploy.datasets.truth import DataError, DataImage, ImagePair, LabeledSet
from rkdeploy.system.text_file import TextFileError, read_text, text_lines

PAIRS_FILE: Final = "pairs.txt"
_MAX_BYTES: Final = 1 << 24
_MAX_PAIRS: Final = 200_000
_FORM: Final = (
    "A line has a name and the numbers of two images of it, or two names with the number of an image each, with tabs "
    "between them, as LFW's pairs.txt."
)


def identity_set(files: Sequence[Path], root: Path, source: str) -> LabeledSet:
    """Images whose folder names their identity; with the pairs of `pairs.txt` in the root, if there is one.

    Args:
        files: the images.
        root: of the data set, which names are relative to.
        source: of the images, for users.

    Raises:
        DataError: when no identity has two images, or there is only one identity, or the pairs are unusable.
    """
    folders = sorted({file.parent for file in files})
    ids = {folder: i for i, folder in enumerate(folders)}
    images = tuple(DataImage(relative_posix(file, root), file, ids[file.parent]) for file in files)
    if len(folders) < 2 or len(files) == len(folders):
        raise DataError(
            f"The {source} has {len(files)} images in {len(folders)} folders, expected several identities, and some "
            "with two images or more.",
            "Give a folder with one folder per identity, each with its images.",
        )
    file = root / PAIRS_FILE
    pairs = _read_pairs(file, images) if file.is_file() else ()
    return LabeledSet(source, images, None, pairs=pairs)


def _read_pairs(file: Path, images: Sequence[DataImage]) -> tuple[ImagePair, ...]:
    """The pairs of a file whose both images are there.

    Raises:
        DataError: when it cannot be read, or has none.
    """
    try:
        lines = [line.split() for line in text_lines(read_text(file, _MAX_BYTES)) if line.strip()]
    except TextFileError as error:
        raise DataError(f'The list of pairs "{file}" {error.reason}.', error.fix) from error
    header = lines[0] if lines and len(lines[0]) <= 2 else []
    rows = lines[1:] if header else lines
    if len(rows) > _MAX_PAIRS:
        raise DataError(f'"{file}" has {len(rows)} pairs, expected at most {_MAX_PAIRS}.')
    per_fold = 2 * int(header[1]) if len(header) == 2 and header[1].isdecimal() and int(header[1]) else 0
    known = {_numbered(image.name): image.name for image in images}
    found = tuple(_pairs(rows, known, per_fold, file))
    if not found:
        raise DataError(f'None of the {len(rows)} pairs of "{file}" has both images.', _FORM)
    return found


def _pairs(
    rows: Sequence[Sequence[str]], known: dict[tuple[str, int], str], per_fold: int, file: Path
) -> Iterator[ImagePair]:
    for number, row in enumerate(rows):
        if len(row) not in (3, 4) or not row[1].isdecimal() or not row[-1].isdecimal():
            raise DataError(f'Pair {number + 1} of "{file}" has {len(row)} parts, expected a name and numbers.', _FORM)
        second = row[0] if len(row) == 3 else row[2]
        ends = [known.get((name, int(place))) for name, place in ((row[0], row[1]), (second, row[-1]))]
        if ends[0] is not None and ends[1] is not None:
            yield ImagePair(ends[0], ends[1], row[0] == second, number // per_fold if per_fold else None)


def _numbered(name: str) -> tuple[str, int]:
    """The folder's name and the number at the end of an image's: `Abel/Abel_0002.jpg` is (Abel, 2)."""
    path = Path(name)
    digits = path.stem.rsplit("_", 1)[-1]
    return path.parent.name, int(digits) if digits.isdecimal() and len(digits) < 10 else -1
