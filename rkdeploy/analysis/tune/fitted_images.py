"""Labeled images as an input set: fitted to the network's input, with the labels in source pixels.

    images.npy  labels.npz  measured.json  maps/

A trial measures on exactly what `rkdeploy build --data` measures on: images are fitted by the same code, here once
instead of in every trial.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.analysis.tune.mapped_pixels import mapped_pixels, read_pixels
from rkdeploy.datasets.truth import DataImage, LabeledSet, Polygons, RunLengths, Truth
from rkdeploy.images.file import read_image_bytes
from rkdeploy.images.fit import LetterboxTransform

_IMAGES: Final = "images.npy"
_LABELS: Final = "labels.npz"
_INDEX: Final = "measured.json"
_MAPS: Final = "maps"


class FittedImage(msgspec.Struct, frozen=True):
    """An image of the input set.

    Attributes:
        name: see `DataImage`.
        transform: of its fit to the input.
        class_id: see `DataImage`.
        maps: how many files of class maps it has.
        objects: how many labeled objects.
        columns: which arrays of `Truth` its labels have.
        outlines: of its objects; None where the data has none.
    """

    name: str
    transform: LetterboxTransform
    class_id: int | None = None
    maps: int = 0
    objects: int = 0
    columns: tuple[str, ...] = ()
    outlines: tuple[Polygons | RunLengths, ...] | None = None


class _ImageIndex(msgspec.Struct, frozen=True):
    source: str
    from_coco: bool
    labeled: bool
    images: tuple[FittedImage, ...]


@dataclass(frozen=True, slots=True)
class FittedImages:
    """An input set of labeled images, open.

    Attributes:
        data: the images and labels; the images' files are not included.
        pixels: (N, H, W, 3) uint8, network inputs; a memory-mapped file.
        transforms: one per image.
    """

    data: LabeledSet
    pixels: NDArray[np.uint8]
    transforms: tuple[LetterboxTransform, ...]

    def __iter__(self) -> Iterator[tuple[DataImage, NDArray[np.uint8], LetterboxTransform]]:
        for index, image in enumerate(self.data.images):
            yield image, np.array(self.pixels[index : index + 1]), self.transforms[index]


class _Labels:
    """See `ObjectLabels`."""

    def __init__(self, truths: dict[str, Truth]) -> None:
        self._truths = truths

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        """The objects of one image, which were put into its pixels before."""
        del source_hw
        return self._truths[name]


def write_labeled_images(
    folder: Path, data: LabeledSet, predictor: Predictor, input_hw: tuple[int, int], detail: Callable[[str], None]
) -> list[ImagePrediction]:
    """Fit every image and write the input set.

    Args:
        folder: to fill.
        data: what to measure on.
        predictor: reads the images.
        input_hw: (height, width) of the network's input.
        detail: called with the progress.

    Returns:
        The predictions, failures all, of images that cannot be read; they are not in the input set.

    Raises:
        SourceError: when a class map cannot be read.
    """
    shape = (len(data.images), *input_hw, 3)
    pixels = mapped_pixels(folder / _IMAGES, shape)
    fitted: list[FittedImage] = []
    truths: list[Truth] = []
    failed: list[ImagePrediction] = []
    for number, image in enumerate(data.images, 1):
        detail(f"{number}/{len(data.images)}")
        loaded = predictor.load(image)
        if isinstance(loaded, ImagePrediction):
            failed.append(loaded)
            continue
        pixels[len(fitted)] = loaded.image[0]
        for position, file in enumerate(image.maps):
            (folder / _MAPS).mkdir(exist_ok=True)
            _map_file(folder, len(fitted), position).write_bytes(read_image_bytes(file))
        truth = None if data.objects is None else data.objects.of(image.name, loaded.transform.source_hw)
        if truth is not None:
            truths.append(truth)
        fitted.append(
            FittedImage(
                image.name,
                loaded.transform,
                image.class_id,
                len(image.maps),
                0 if truth is None else len(truth),
                () if truth is None else tuple(_columns(truth)),
                None if truth is None else truth.outlines,
            )
        )
    del pixels  # what is mapped reaches the file
    np.savez(folder / _LABELS, **_joined(truths))
    index = _ImageIndex(data.source, data.from_coco, data.objects is not None, tuple(fitted))
    (folder / _INDEX).write_bytes(msgspec.json.encode(index))
    return failed


def read_labeled_images(folder: Path) -> FittedImages:
    """Open the input set."""
    index = msgspec.json.decode((folder / _INDEX).read_bytes(), type=_ImageIndex)
    images = tuple(
        DataImage(one.name, Path(one.name), one.class_id, tuple(_map_file(folder, i, k) for k in range(one.maps)))
        for i, one in enumerate(index.images)
    )
    with np.load(folder / _LABELS, allow_pickle=False) as stored:
        truths = dict(_split(index.images, {name: stored[name] for name in stored.files})) if index.labeled else {}
    data = LabeledSet(index.source, images, _Labels(truths) if index.labeled else None, index.from_coco)
    pixels = read_pixels(folder / _IMAGES)
    return FittedImages(data, pixels, tuple(one.transform for one in index.images))


def _map_file(folder: Path, image: int, position: int) -> Path:
    return folder / _MAPS / f"{image:06}-{position}.png"


def _columns(truth: Truth) -> dict[str, NDArray[Any]]:
    """The arrays of an image's labels, one row per object each."""
    columns = {
        "xyxy": truth.xyxy,
        "class_ids": truth.class_ids,
        "areas": truth.areas,
        "crowd": truth.crowd,
        "keypoints": truth.keypoints,
        "rotated": truth.rotated,
    }
    return {name: values for name, values in columns.items() if values is not None}


def _joined(truths: Sequence[Truth]) -> dict[str, NDArray[Any]]:
    """The objects of all images, one after the other."""
    parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for truth in truths:
        for name, values in _columns(truth).items():
            parts[name].append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _split(images: Sequence[FittedImage], columns: dict[str, NDArray[Any]]) -> Iterator[tuple[str, Truth]]:
    starts = dict.fromkeys(columns, 0)
    for image in images:
        own = {name: columns[name][starts[name] : starts[name] + image.objects] for name in image.columns}
        for name in image.columns:
            starts[name] += image.objects
        yield image.name, Truth(**own, outlines=image.outlines)
