"""Images of lines of text with the text of each: a label file in PP-OCR's form, or the names of the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from rkdeploy.datasets.data_yaml import images_in_folder, relative_posix
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet
from rkdeploy.system.text_file import TextFileError, read_text

LABEL_SUFFIX: Final = ".txt"
_USUAL: Final = ("rec_gt_test.txt", "rec_gt_val.txt", "rec_gt.txt", "val_list.txt", "val.txt", "test.txt", "label.txt")
_MAX_BYTES: Final = 1 << 26
_MAX_LINES: Final = 2_000_000
_NAMED: Final = 3
_FORM: Final = "A line has the path of an image, a tab and its text, as PP-OCR's recognition sets have it."


def text_set(data: Path, split: str) -> LabeledSet:
    """Images with their texts.

    Args:
        data: a label file, whose paths are relative to its folder or the one above; or a folder, with such a file in
            it or with images that are named after their text.
        split: folder inside of it that is taken, if there is one.

    Raises:
        DataError: when there is no image with a text.
    """
    if data.suffix.lower() == LABEL_SUFFIX:
        return _from_file(data)
    if not data.is_dir():
        raise DataError(f'"{data}" is neither a label file (.txt) nor a folder of images.', _FORM)
    folder = data / split if (data / split).is_dir() else data
    inside = next((folder / name for name in _USUAL if (folder / name).is_file()), None)
    return _from_file(inside) if inside is not None else _from_names(images_in_folder(folder), folder)


def _from_names(files: Sequence[Path], folder: Path) -> LabeledSet:
    """Images that are named after their text, up to the first - or _, as LPRNet_Pytorch's are."""
    texts = {file: file.stem.split("-")[0].split("_")[0] for file in files}
    images = tuple(DataImage(relative_posix(f, folder), f, text=text) for f, text in texts.items() if text)
    if not images:
        raise DataError(
            f'The folder "{folder}" has no image that is named after its text.',
            f"Name the images after their text (苏A12345_1.jpg), or give a label file. {_FORM}",
        )
    shown = "; ".join(f'"{image.name}" shows {image.text}' for image in images[:_NAMED])
    return LabeledSet(f'folder "{folder}"', images, None, notes=(f"The texts are the names of the files: {shown}.",))


def _from_file(file: Path) -> LabeledSet:
    """The images of a label file that are there."""
    try:
        lines = read_text(file, _MAX_BYTES).replace("\r\n", "\n").split("\n")
    except TextFileError as error:
        raise DataError(f'The label file "{file}" {error.reason}.', error.fix) from error
    if len(lines) > _MAX_LINES:
        raise DataError(f'The label file "{file}" has {len(lines)} lines, expected at most {_MAX_LINES}.')
    rows = [line.split("\t", 1) for line in lines if line.strip()]
    bad = [row[0] for row in rows if len(row) != 2]
    found = {row[0]: (path, row[1]) for row in rows if len(row) == 2 and (path := _image(file, row[0])) is not None}
    if not found:
        reason = f'its line "{bad[0][:60]}" has no tab' if bad else "none of its images is there"
        raise DataError(f'The label file "{file}" has no image with a text: {reason}.', _FORM)
    missing = len(rows) - len(bad) - len(found)
    left_out = ((missing, "images are missing or repeated"), (len(bad), "lines have no tab"))
    notes = [f"{count} {what} and were left out." for count, what in left_out if count]
    images = tuple(DataImage(name, path, text=text.strip()) for name, (path, text) in sorted(found.items()))
    return LabeledSet(f'label file "{file}"', images, None, notes=tuple(notes))


def _image(file: Path, name: str) -> Path | None:
    """The image of a line, in the label file's folder or the one above; None if it is not there, or elsewhere."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name:
        return None
    return next((path for root in (file.parent, file.parent.parent) if (path := root / name).is_file()), None)
