"""Ground truth of labeled images: objects, classes or class maps that a model should find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.output_roles import roles_of
from rkdeploy.contract.roles import AnchorRole, PointRole, QueryRole
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.errors import RkdeployError

_OBJECT_ROLES: Final = frozenset((*get_args(AnchorRole), *get_args(PointRole), *get_args(QueryRole), "area_map"))

Polygons = list[list[float]]
"""An object's outline: x, y, x, y, ... in source pixels, one list per part."""


class DataError(RkdeployError):
    """A labeled data set that is missing or unusable."""


@dataclass(frozen=True, slots=True)
class RunLengths:
    """A mask as COCO writes it: see `rkdeploy.images.coco_rle`; `counts` may also be the plain numbers."""

    size_hw: tuple[int, int]
    counts: str | list[int]


@dataclass(frozen=True, slots=True)
class Truth:
    """The labeled objects of one image, in source pixels.

    Attributes:
        xyxy: (G, 4) float64, x1, y1, x2, y2.
        class_ids: (G,) int64, of the model's classes.
        areas: (G,) float64 square pixels: the scale of object keypoint similarity.
        crowd: (G,) bool: regions in which detections are neither right nor wrong.
        keypoints: (G, K, 3) float64, x, y and visibility (0 is not labeled); None if the data has none.
        rotated: (G, 5) float32, center x, y, width, height, angle in radians; None for upright boxes.
        outlines: one per object; None if the data has none.
    """

    xyxy: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    keypoints: NDArray[np.float64] | None = None
    rotated: NDArray[np.float32] | None = None
    outlines: tuple[Polygons | RunLengths, ...] | None = None

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True, slots=True)
class DataImage:
    """One image to evaluate on.

    Attributes:
        name: POSIX path relative to the data set's root.
        file: path on this machine.
        class_id: of the whole image, for classifiers; the number of its identity for embeddings; else None.
        maps: the file of each class map, in the order of `ModelSpec.class_maps`.
        depth: the file of its depth, for depth models; else None.
        text: that it shows, for text recognizers; else None.
    """

    name: str
    file: Path
    class_id: int | None = None
    maps: tuple[Path, ...] = ()
    depth: Path | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two images to verify.

    Attributes:
        first, second: their names.
        is_same: whether they are of one identity.
        fold: number of the pair's fold; None where the data has none.
    """

    first: str
    second: str
    is_same: bool
    fold: int | None = None


class ObjectLabels(Protocol):
    """The labeled objects of a data set."""

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        """The labeled objects of one image.

        Args:
            name: of the image.
            source_hw: its height and width in pixels.
        """
        ...


@dataclass(frozen=True, slots=True)
class LabeledSet:
    """Labeled images.

    Attributes:
        source: their origin, for users.
        images: sorted by name.
        objects: their labeled objects; None for classifiers, and for models that only give class maps.
        from_coco: True for a COCO file, whose figures are usually given as COCO computes them.
        pairs: given pairs of images, for embeddings.
        notes: remarks for the user: images left out, classes that do not fit.
    """

    source: str
    images: tuple[DataImage, ...]
    objects: ObjectLabels | None
    from_coco: bool = False
    pairs: tuple[ImagePair, ...] = ()
    notes: tuple[str, ...] = ()


def finds_objects(spec: ModelSpec) -> bool:
    """True if a model gives objects, not only maps or a class of the whole image."""
    return not _OBJECT_ROLES.isdisjoint(roles_of(spec))
