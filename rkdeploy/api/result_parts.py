"""Parts of a result, in the field's vocabulary: `xyxy`, `confidence`, `class_id`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import DepthKind
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import InstanceMask
from rkdeploy.errors import RkdeployError


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of each object.

    Attributes:
        xy: (N, K, 2) float32, pixels of the image, clipped to it.
        confidence: (N, K) float32, visibility 0..1; 1 where the model gives none.
    """

    xy: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The pixels of each object.  Indexing or iterating gives (H, W) bool arrays of the image's size.

    Attributes:
        crops: each object's mask within its own rectangle; what is outside of it does not belong to the object.
        image_hw: height and width of the image in pixels.
    """

    crops: tuple[InstanceMask, ...]
    image_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> NDArray[np.bool_]:
        return _full_size(self.crops[index], self.image_hw)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (_full_size(crop, self.image_hw) for crop in self.crops)

    def stacked(self) -> NDArray[np.bool_]:
        """All masks as one (N, H, W) bool array."""
        full = np.zeros((len(self.crops), *self.image_hw), np.bool_)
        for mask, crop in zip(full, self.crops, strict=True):
            _paste(mask, crop)
        return full


@dataclass(frozen=True, slots=True, eq=False)
class RotatedBoxes:
    """The oriented boxes of the objects.

    Attributes:
        xywhr: (N, 5) float32: center x, center y, width, height in pixels of the image, and the angle in radians from
            the x axis toward the y axis.  Not clipped.
    """

    xywhr: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xywhr)

    @property
    def corners(self) -> NDArray[np.float32]:
        """(N, 4, 2) float32: the corners in pixels of the image, in order around the box."""
        return corners_of(self.xywhr)


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """The class of every pixel, such as drivable area or lane lines.

    Attributes:
        name: of the map, for example `drivable_area`.
        names: class names by class id.
        class_id: (H, W) uint8, of the image's size.
        background: whether class 0 is the background.
    """

    name: str
    names: tuple[str, ...]
    class_id: NDArray[np.uint8]
    background: bool = True

    def share(self, class_name: str) -> float:
        """Share of the pixels, 0..1, of a class.

        Raises:
            RkdeployError: when the map has no such class.
        """
        if class_name not in self.names:
            known = ", ".join(self.names[:20])
            raise RkdeployError(f'The map "{self.name}" has no class "{class_name}", expected one of {known}.')
        return float((self.class_id == self.names.index(class_name)).mean())


@dataclass(frozen=True, slots=True)
class GalleryMatch:
    """A name of a gallery.

    Attributes:
        name: the nearest one, if its cosine reaches the threshold; else None.
        cosine: of the nearest one, -1 to 1.
        nearest: the nearest names with their cosines, best first.
    """

    name: str | None
    cosine: float
    nearest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class DepthMap:
    """The depth of every pixel.

    Attributes:
        values: (H, W) float32, of the image's size.
        kind: `metric` is meters; `relative` grows with the distance, `inverse` shrinks with it (relative inverse
            depth), both in a unit of their own that differs from image to image.
    """

    values: NDArray[np.float32]
    kind: DepthKind

    @property
    def unit(self) -> str:
        """`m` for meters; empty for values without a unit."""
        return "m" if self.kind == "metric" else ""


@dataclass(frozen=True, slots=True, eq=False)
class TextLine:
    """A recognizer's reading of the image.  `str` of it is the text.

    Attributes:
        text: the whole line.
        confidence: mean of the characters' confidences, 0..1; 0 for an empty line.
        characters: N of them, from left to right.
        confidences: (N,) float32, 0..1.
        columns: (N,) int32, the column of the network's output in which each begins.
    """

    text: str
    confidence: float
    characters: tuple[str, ...]
    confidences: NDArray[np.float32]
    columns: NDArray[np.int32]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class ClassRanking:
    """A classifier's answer for the whole image, most likely class first.

    Attributes:
        class_id: (K,) int32.
        confidence: (K,) float32, probabilities.
        class_name: (K,) names.
    """

    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]
    class_name: tuple[str, ...]


def _full_size(crop: InstanceMask, image_hw: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(image_hw, np.bool_)
    _paste(mask, crop)
    return mask


def _paste(mask: NDArray[np.bool_], crop: InstanceMask) -> None:
    height, width = crop.pixels.shape
    mask[crop.top : crop.top + height, crop.left : crop.left + width] = crop.pixels
