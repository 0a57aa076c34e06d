"""Labels in YOLO's training format: one text file per image, one line per object, all as fractions of the image size.

    class x y w h                        a box: center and size
    class x1 y1 x2 y2 x3 y3 ...          an outline; four corners for a rotated box
    class x y w h px1 py1 [v1] px2 ...   a box and its keypoints

The file of `images/val/a.jpg` is `labels/val/a.txt`; an image without one shows no object.  Files are rejected as in
YOLOv5's `verify_image_label` (utils/dataloaders.py, v7.0): such an image is left out of training and validation alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.datasets.truth import DataError, Polygons, Truth
from rkdeploy.errors import shown
from rkdeploy.system.text_file import TextFileError, read_text

if TYPE_CHECKING:
    from rkdeploy.contract.spec import Task

AREA_OF_BOX = 0.53
"""Fraction of its box that an object covers, if there is no mask: ultralytics' pose validator (8.4)."""
_MAX_LABEL_BYTES = 16 << 20
_TOLERANCE = 0.01


class BadLabelsError(Exception):
    """The reason why a label file is unusable, as the second half of a sentence."""


@dataclass(frozen=True, slots=True)
class LabelForm:
    """Format of the lines.

    Attributes:
        task: task of the labels.
        class_count: classes that the model has.
        keypoints: keypoints per object; 0 for none.
        dimensions: numbers per keypoint, 2 or 3.
    """

    task: Task
    class_count: int
    keypoints: int = 0
    dimensions: int = 3


@dataclass(frozen=True, slots=True)
class ShareLabels:
    """The objects of one image as fractions of its width and height.

    Attributes:
        class_ids: (G,).
        xywh: (G, 4), center and size; for an outline the box around it.
        outlines: (P, 2) x, y each; empty if the lines are boxes.
        keypoints: (G, K, 3); None without.
    """

    class_ids: NDArray[np.int64]
    xywh: NDArray[np.float64]
    outlines: tuple[NDArray[np.float64], ...] = ()
    keypoints: NDArray[np.float64] | None = None


class YoloLabels:
    """The labels of a data set.  See `ObjectLabels`."""

    def __init__(self, labels: dict[str, ShareLabels], form: LabelForm) -> None:
        self._labels = labels
        self._form = form

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        """The objects of one image in pixels."""
        return in_pixels(self._labels[name], source_hw, self._form.task)


def label_file(image: Path, folder: str = "labels") -> Path:
    """Path of an image's label file: the last folder called `images` is replaced, the suffix becomes `.txt`.

    Without such a folder it is next to the image, as in upstream's `img2label_paths`.
    """
    return beside_images(image, folder, ".txt")


def beside_images(image: Path, folder: str, suffix: str) -> Path:
    """The file that belongs to an image, in a folder in the place of `images`."""
    parts = PurePath(image).parts
    place = next((i for i in range(len(parts) - 2, -1, -1) if parts[i] == "images"), None)
    moved = image if place is None else Path(*parts[:place], folder, *parts[place + 1 :])
    return moved.with_suffix(suffix)


def read_labels(file: Path, form: LabelForm) -> ShareLabels:
    """Read the labels of one image; a missing or empty file has none.

    Equal lines count once.

    Raises:
        BadLabelsError: when a line does not fit.
    """
    try:
        if not file.exists():
            return parse_labels("", form)
        return parse_labels(read_text(file, _MAX_LABEL_BYTES), form)
    except OSError as error:
        raise BadLabelsError(f"cannot be read: {error.strerror}") from error
    except TextFileError as error:
        raise BadLabelsError(error.reason) from error


def parse_labels(text: str, form: LabelForm) -> ShareLabels:
    """The labels in a text.

    Raises:
        BadLabelsError: when a line does not fit.
    """
    rows: dict[tuple[float, ...], None] = {}  # without duplicate lines, in their order
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            rows[_numbers(line, number, form)] = None
    class_ids = np.array([row[0] for row in rows], np.int64)
    shares = [np.array(row[1:], np.float64) for row in rows]
    if form.task in {"segment", "obb"} or (any(len(row) != 4 for row in shares) and not form.keypoints):
        outlines = tuple(_outline(row) for row in shares)
        xywh = np.array([_box_around(outline) for outline in outlines]).reshape(-1, 4)
        return ShareLabels(class_ids, xywh, outlines)
    xywh = np.array([row[:4] for row in shares]).reshape(-1, 4)
    if not form.keypoints:
        return ShareLabels(class_ids, xywh)
    points = np.array([row[4:] for row in shares]).reshape(-1, form.keypoints, form.dimensions)
    keypoints = np.empty((len(points), form.keypoints, 3))
    keypoints[:, :, :2] = points[:, :, :2]
    # Without a visibility a point is labeled unless it is negative: ultralytics' dataset (8.4).
    keypoints[:, :, 2] = points[:, :, 2] if form.dimensions == 3 else 2.0 * (points >= 0).all(axis=2)
    return ShareLabels(class_ids, xywh, keypoints=keypoints)


def in_pixels(labels: ShareLabels, source_hw: tuple[int, int], task: Task) -> Truth:
    """Convert fractions of an image of `source_hw` (height, width) to pixels."""
    height, width = source_hw
    xywh = labels.xywh * (width, height, width, height)
    xyxy = np.concatenate((xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2), axis=1)
    areas = xywh[:, 2] * xywh[:, 3]
    keypoints, rotated, outlines = labels.keypoints, None, None
    if keypoints is not None:
        keypoints = keypoints * (width, height, 1.0)
        areas = areas * AREA_OF_BOX
    if task == "obb":
        rotated = np.array([_rotated(o * (width, height)) for o in labels.outlines], np.float32).reshape(-1, 5)
    if task == "segment":
        polygons: list[Polygons] = [[(o * (width, height)).ravel().tolist()] for o in labels.outlines]
        outlines = tuple(polygons)
    crowd = np.zeros(len(xyxy), np.bool_)
    return Truth(xyxy, labels.class_ids, areas, crowd, keypoints, rotated, outlines)


def require_classes(names: tuple[str, ...], model_names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Compare a data set's class names with the model's.

    Returns:
        Notes on differences.

    Raises:
        DataError: when their numbers differ: then the labels' ids mean other classes.
    """
    if not names or names == model_names:
        return ()
    if len(names) != len(model_names):
        raise DataError(
            f"{where} has {len(names)} classes ({shown(', '.join(names))}), the model {len(model_names)} "
            f"({shown(', '.join(model_names))}).",
            "Give the data that the model was trained for.",
        )
    at = next(i for i, (a, b) in enumerate(zip(names, model_names, strict=True)) if a != b)
    names_differ = f"{where} calls class {at} {shown(names[at])}, the model calls it {shown(model_names[at])}"
    return (f"{names_differ}: check that the data is this model's.",)


def _numbers(line: str, number: int, form: LabelForm) -> tuple[float, ...]:
    """The class id and the fractions of one line, checked."""
    try:
        row = tuple(float(word) for word in line.split())
    except ValueError:
        raise BadLabelsError(f"line {number}: {shown(line.strip())} is not numbers") from None
    values = len(row) - 1
    if form.keypoints:
        expected = 4 + form.keypoints * form.dimensions
        if values != expected:
            raise BadLabelsError(f"line {number}: {len(row)} numbers, expected {1 + expected}")
    elif not (values == 4 and form.task in {"detect", "classify"}) and (values < 6 or values % 2):
        kind = "class x y w h" if form.task == "detect" else "a class and the x, y of three or more corners"
        raise BadLabelsError(f"line {number}: {len(row)} numbers, expected {kind}")
    class_id = row[0]
    if class_id != int(class_id) if np.isfinite(class_id) else True:
        raise BadLabelsError(f"line {number}: class {class_id} is not a whole number")
    if not 0 <= class_id < form.class_count:
        raise BadLabelsError(f"line {number}: class {class_id:.0f}, expected 0 to {form.class_count - 1}")
    if form.keypoints:
        points = np.array(row[5:]).reshape(-1, form.dimensions)[:, :2]
        inside = _inside(np.array(row[1:5])) and bool(np.isfinite(points).all() and points.max() <= 1 + _TOLERANCE)
    else:
        inside = _inside(np.array(row[1:]))
    if not inside:
        raise BadLabelsError(f"line {number}: a coordinate is not a fraction of the image from 0 to 1")
    return row


def _inside(shares: NDArray[np.float64]) -> bool:
    return bool((shares >= -_TOLERANCE).all() and (shares <= 1 + _TOLERANCE).all())  # False for NaN


def _outline(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The corners of a line; for a box its own corners."""
    if len(row) != 4:
        return row.reshape(-1, 2)
    x, y, w, h = row
    return np.array(((x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)))


def _box_around(outline: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = outline.min(axis=0), outline.max(axis=0)
    return np.concatenate(((low + high) / 2, high - low))


def _rotated(corners_px: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """The smallest rotated rectangle around the corners, as ultralytics makes its labels (`xyxyxyxy2xywhr`)."""
    (x, y), (width, height), degrees = cv2.minAreaRect(corners_px.astype(np.float32))
    return x, y, width, height, float(np.radians(degrees))
