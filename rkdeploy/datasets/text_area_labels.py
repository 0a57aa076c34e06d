"""Labels of areas of text: PP-OCR's label file, and ICDAR's text file for each image.

PP-OCR (PPOCRLabel): a line per image, its path, a tab, and JSON: `[{"transcription": "...", "points": [[x, y], ...]}]`.
ICDAR 2015: lines of `x1,y1,x2,y2,x3,y3,x4,y4,text`; ICDAR 2013: `x1,y1,x2,y2,text`, also with spaces.
A text that is `###` or `*` cannot be read: finding it is neither right nor wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from rkdeploy.datasets.data_yaml import images_in_folder, relative_posix
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet, Truth
from rkdeploy.system.text_file import TextFileError, read_text, text_lines

LABEL_FILE: Final = "Label.txt"
_ILLEGIBLE: Final = frozenset({"###", "*"})
_MOST_BYTES: Final = 256 << 20
_MOST_POINTS: Final = 1000
_NUMBER: Final = r"\s*(-?\d{1,6}(?:\.\d{1,9})?)\s*"
_QUAD: Final = re.compile(rf"{','.join([_NUMBER] * 8)}(?:,(.*))?$")
_BOX: Final = re.compile(rf"{','.join([_NUMBER] * 4)}(?:,(.*))?$")
_SPACED_BOX: Final = re.compile(rf"{'[ ]'.join([_NUMBER] * 4)}(?:[ ](.*))?$")
_NAMED: Final = 3
_FORMS: Final = (
    f"Give PP-OCR's label file ({LABEL_FILE}), or a folder with images and ICDAR's text files: gt_NAME.txt next to "
    "each, or in a folder gt next to the folder images."
)

Coordinate = Annotated[float, Meta(ge=-1e6, le=1e6)]
Outline = list[tuple[Coordinate, Coordinate]]


class _Labeled(msgspec.Struct):
    """One text of PP-OCR's label file."""

    points: Annotated[Outline, Meta(min_length=3, max_length=_MOST_POINTS)]
    transcription: str = ""


@dataclass(frozen=True, slots=True)
class _Area:
    outline: Outline
    illegible: bool


@dataclass(frozen=True, slots=True)
class TextAreaLabels:
    """The labeled areas of a data set, by the names of the images."""

    areas: Mapping[str, tuple[_Area, ...]]

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        """The labeled areas of one image; outlines, and the rotated rectangle of least area around each."""
        del source_hw  # labels are in pixels
        found = self.areas[name]
        outlines = [np.array(one.outline, np.float32) for one in found]
        rectangles = [cv2.minAreaRect(points) for points in outlines]
        count = len(found)
        return Truth(
            xyxy=np.array([(*p.min(axis=0), *p.max(axis=0)) for p in outlines], np.float64).reshape(count, 4),
            class_ids=np.zeros(count, np.int64),
            areas=np.array([max(float(cv2.contourArea(p)), 1.0) for p in outlines], np.float64),
            crowd=np.array([one.illegible for one in found], np.bool_),
            rotated=np.array([(*c, *s, np.radians(a)) for c, s, a in rectangles], np.float32).reshape(count, 5),
            outlines=tuple([[v for point in one.outline for v in point]] for one in found),
        )


def text_area_set(data: Path) -> LabeledSet:
    """Images with the labeled areas of text of each.

    Args:
        data: PP-OCR's label file, a folder with one, or a folder of images with ICDAR's text files.

    Raises:
        DataError: when there is none, or it cannot be read.
    """
    if data.is_file():
        return _from_label_file(data)
    inside = data / LABEL_FILE
    return _from_label_file(inside) if inside.is_file() else _from_icdar(data)


def _from_label_file(file: Path) -> LabeledSet:
    images, areas, missing = [], {}, []
    for number, line in enumerate(_lines(file), 1):
        path, tab, written = line.partition("\t")
        if not path.strip():
            continue
        if not tab:
            raise DataError(f'Line {number} of "{file}" has no tab between an image and its texts.', _FORMS)
        found = _image_of(file, path.strip())
        if found is None:
            missing.append(path.strip())
            continue
        name = relative_posix(found, file.parent)
        images.append(DataImage(name, found))
        areas[name] = _decoded(written, file, number)
    if not images:
        looked = f', such as "{missing[0]}"' if missing else ""
        raise DataError(
            f'No image of "{file}" exists{looked}.', "Paths are relative to the file's folder or the one above."
        )
    return _labeled(f'"{file}"', images, areas, [f'"{name}"' for name in missing], "do not exist")


def _image_of(file: Path, path: str) -> Path | None:
    """An image that a line names: relative to the file's folder or the one above (PPOCRLabel), or by its name alone."""
    places = (file.parent / path, file.parent.parent / path, file.parent / Path(path).name)
    return next((place for place in places if "\0" not in path and place.is_file()), None)


def _decoded(written: str, file: Path, number: int) -> tuple[_Area, ...]:
    try:
        found = msgspec.json.decode(written, type=list[_Labeled])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise DataError(f'Line {number} of "{file}" is not PP-OCR\'s JSON: {str(error)[:200]}.', _FORMS) from error
    return tuple(_Area(one.points, one.transcription in _ILLEGIBLE) for one in found)


def _from_icdar(folder: Path) -> LabeledSet:
    inside = folder / "images"
    files = images_in_folder(inside if inside.is_dir() else folder)
    images, areas, missing = [], {}, []
    for file in files:
        labels = _icdar_file(folder, file)
        if labels is None:
            missing.append(f'"{file.name}"')
            continue
        name = relative_posix(file, folder)
        images.append(DataImage(name, file))
        areas[name] = tuple(_icdar_area(line, labels, n) for n, line in enumerate(_lines(labels), 1) if line.strip())
    if not images:
        raise DataError(f'Folder "{folder}" holds no image with a file of labels.', _FORMS)
    return _labeled(f'folder "{folder}"', images, areas, missing, "have no labels")


def _icdar_file(folder: Path, image: Path) -> Path | None:
    names = (f"gt_{image.stem}.txt", f"{image.stem}.txt")
    places = (image.parent, folder / "gt", folder / "labels")
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _icdar_area(line: str, file: Path, number: int) -> _Area:
    for form in (_QUAD, _BOX, _SPACED_BOX):
        found = form.match(line)
        if found is not None:
            *numbers, text = found.groups()
            values = [float(value) for value in numbers]
            if len(values) == 4:
                x1, y1, x2, y2 = values
                values = [x1, y1, x2, y1, x2, y2, x1, y2]
            outline: Outline = list(zip(values[::2], values[1::2], strict=True))
            return _Area(outline, (text or "").strip().strip('"') in _ILLEGIBLE)
    raise DataError(f'Line {number} of "{file}" is {line[:60]!r}, expected 8 or 4 numbers and a text.', _FORMS)


def _lines(file: Path) -> list[str]:
    try:
        return text_lines(read_text(file, _MOST_BYTES))
    except TextFileError as error:
        raise DataError(f'The labels "{file}" {error.reason}.', error.fix) from error


def _labeled(
    source: str, images: Sequence[DataImage], areas: Mapping[str, tuple[_Area, ...]], missing: Sequence[str], why: str
) -> LabeledSet:
    named = ", ".join(missing[:_NAMED])
    notes = (f"{len(missing)} images {why} and were left out, such as {named}.",) if missing else ()
    ordered = tuple(sorted({image.name: image for image in images}.values(), key=lambda image: image.name))
    return LabeledSet(source, ordered, TextAreaLabels(areas), notes=notes)
