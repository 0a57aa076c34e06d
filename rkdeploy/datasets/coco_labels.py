"""Labels from a COCO file (`instances_val2017.json`, `person_keypoints_val2017.json`, an exporter's)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet, Polygons, RunLengths, Truth
from rkdeploy.errors import shown
from rkdeploy.system.text_file import TextFileError, decode_text, has_mark
from rkdeploy.system.written_path import find_written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rkdeploy.contract.spec import ModelSpec

_MAX_JSON_BYTES = 4 << 30


class _Image(msgspec.Struct):
    id: int
    file_name: str


class _Category(msgspec.Struct):
    id: int
    name: str


class _Runs(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0
    segmentation: list[list[float]] | _Runs | None = None
    keypoints: list[float] | None = None


class _CocoFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class CocoLabels:
    """The annotations of a COCO file.  See `ObjectLabels`."""

    def __init__(self, annotations: dict[str, list[tuple[int, _Annotation]]], spec: ModelSpec) -> None:
        self._annotations = annotations
        self._keypoints = spec.keypoints.count if spec.keypoints is not None else 0
        self._outlined = spec.task == "segment"

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        """The objects of one image."""
        found = self._annotations.get(name, [])
        xywh = np.array([a.bbox for _, a in found], np.float64).reshape(-1, 4)
        keypoints = None
        if self._keypoints:
            keypoints = np.array([a.keypoints or [0.0] * (3 * self._keypoints) for _, a in found], np.float64)
            keypoints = keypoints.reshape(-1, self._keypoints, 3)
        return Truth(
            xyxy=np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1),
            class_ids=np.array([class_id for class_id, _ in found], np.int64),
            areas=np.array([a.bbox[2] * a.bbox[3] if a.area is None else a.area for _, a in found], np.float64),
            crowd=np.array([bool(a.iscrowd) for _, a in found], np.bool_),
            keypoints=keypoints,
            outlines=tuple(_outline(a, source_hw) for _, a in found) if self._outlined else None,
        )


def read_coco(file: Path, spec: ModelSpec, images: Path | None = None) -> LabeledSet:
    """Read a COCO file for a model.

    Categories are matched to the model's classes by name.  Annotations of others are left out, with a note.

    Args:
        file: the JSON.
        spec: the model's contract.
        images: folder that `file_name` is relative to; None looks in the usual places around the file.

    Raises:
        DataError: when it cannot be read, is not a COCO file, has none of the model's classes, or its images are
            missing.
    """
    content = _decode(file)
    ids_of_names = {name.strip().casefold(): i for i, name in reversed(list(enumerate(spec.class_names)))}
    class_ids = {c.id: ids_of_names.get(c.name.strip().casefold()) for c in content.categories}
    if not any(i is not None for i in class_ids.values()):
        raise DataError(
            f'"{file}" has the categories {shown(", ".join(c.name for c in content.categories))}, none of them a class '
            f"of the model ({shown(', '.join(spec.class_names))}).",
            "Give the data that the model was trained for.",
        )
    folder = _image_folder(file, content.images, images)
    names = {image.id: image.file_name for image in content.images}
    of_images: dict[str, list[tuple[int, _Annotation]]] = defaultdict(list)
    foreign = 0
    for annotation in content.annotations:
        class_id = class_ids.get(annotation.category_id)
        if class_id is None or annotation.image_id not in names:
            foreign += 1
            continue
        _require_usable(annotation, spec, file)
        of_images[names[annotation.image_id]].append((class_id, annotation))
    if not of_images:
        raise DataError(
            f'"{file}" has no object of the model\'s classes on its {len(names)} images; there is nothing to measure.',
            "Give a file with annotations: those of a test set are often not published.",
        )
    notes = []
    if foreign:
        notes.append(f'{foreign} annotations of "{file}" are of other classes or images and were left out.')
    missing = [
        n
        for n in spec.class_names
        if n.strip().casefold() not in {c.name.strip().casefold() for c in content.categories}
    ]
    if missing:
        notes.append(f'"{file}" has no category for the model\'s {shown(", ".join(missing))}.')
    return LabeledSet(
        source=f'"{file}"',
        images=tuple(DataImage(name, find_written(name, folder)) for name in sorted(set(names.values()))),
        objects=CocoLabels(of_images, spec),
        from_coco=True,
        notes=tuple(notes),
    )


def _decode(file: Path) -> _CocoFile:
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            raise DataError(f'"{file}" has {file.stat().st_size} bytes, expected at most {_MAX_JSON_BYTES}.')
        data = file.read_bytes()
        content = _parsed(data, file)
    except OSError as error:
        raise DataError(f'"{file}" cannot be read: {error.strerror}.') from error
    except TextFileError as error:
        raise DataError(f'"{file}" {error.reason}.', error.fix) from error
    if not content.images:
        raise DataError(f'"{file}" names no image.')
    return content


def _parsed(data: bytes, file: Path) -> _CocoFile:
    """The parsed content; a file of gigabytes is decoded as bytes, without a copy, if it has no byte order mark."""
    try:
        return msgspec.json.decode(decode_text(data, file.name) if has_mark(data) else data, type=_CocoFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        decode_text(data, file.name)  # raises an error if the encoding is the cause
        raise DataError(
            f'"{file}" is not a COCO file: {shown(str(error), 200)}.',
            'Expected an object with "images", "annotations" and "categories".',
        ) from error


def _image_folder(file: Path, images: Iterable[_Image], given: Path | None) -> Path:
    first = next(iter(images)).file_name
    split = file.stem.rpartition("_")[2]
    base = file.parent
    places = (
        [given]
        if given is not None
        else [p / q for p in (base, base.parent) for q in ("", "images", split, f"images/{split}")]
    )
    found = next((place for place in places if find_written(first, place).is_file()), None)
    if found is None:
        looked = ", ".join(f'"{place}"' for place in places)
        raise DataError(
            f'The images of "{file}" are missing: no "{first}" in {looked}.', "Name their folder with --images."
        )
    return found


def _require_usable(annotation: _Annotation, spec: ModelSpec, file: Path) -> None:
    """Reject an annotation that would make the evaluation fail later.

    Raises:
        DataError: for such an annotation.
    """
    where = f'"{file}", image {annotation.image_id}'
    if not all(np.isfinite(annotation.bbox)) or (annotation.area is not None and not np.isfinite(annotation.area)):
        raise DataError(f"{where}: a box or area is not finite.")
    if spec.keypoints is not None and annotation.keypoints is not None:
        expected = 3 * spec.keypoints.count
        if len(annotation.keypoints) != expected or not all(np.isfinite(annotation.keypoints)):
            raise DataError(f"{where}: {len(annotation.keypoints)} keypoint numbers, expected {expected}.")
    parts = annotation.segmentation
    if spec.task == "segment" and isinstance(parts, list) and any(len(p) < 6 or len(p) % 2 for p in parts):
        raise DataError(f"{where}: an outline has fewer than three corners.")


def _outline(annotation: _Annotation, source_hw: tuple[int, int]) -> Polygons | RunLengths:
    found: Any = annotation.segmentation
    if isinstance(found, _Runs):
        if found.size != source_hw:
            raise DataError(f"A mask has the size {found.size}, its image {source_hw} (height, width).")
        return RunLengths(found.size, found.counts)
    if found:
        return list(found)
    x, y, w, h = annotation.bbox
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]
