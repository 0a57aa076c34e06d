"""Detections of one image: objects, class maps, ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import DepthKind
from rkdeploy.device.tracking.found_tracks import FoundTracks


@dataclass(frozen=True, slots=True)
class InstanceMask:
    """The pixels of one object.

    Attributes:
        left, top: source pixel of the mask's first column and row.
        pixels: (h, w) bool, True on the object; lies wholly inside the source image.  No pixel outside of it belongs to
            the object.
    """

    left: int
    top: int
    pixels: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FoundClassMap:
    """The class of every pixel of the source image.

    Attributes:
        name: name of the map, for example `drivable_area`.
        class_names: by class id.
        class_ids: (H, W) uint8, of the source image's size.
        background: whether class 0 is the background, which is neither drawn nor listed.
    """

    name: str
    class_names: tuple[str, ...]
    class_ids: NDArray[np.uint8]
    background: bool = True

    @property
    def shown_ids(self) -> range:
        """Ids of the classes that are drawn and listed."""
        return range(1 if self.background else 0, len(self.class_names))


@dataclass(frozen=True, slots=True)
class FoundDepth:
    """The depth of every pixel of the source image.

    Attributes:
        values: (H, W) float32, of the source image's size.  `kind` has their unit.
        kind: `metric` is meters; `relative` grows with the distance, `inverse` shrinks with it, both in a unit of their
            own.
    """

    values: NDArray[np.float32]
    kind: DepthKind


@dataclass(frozen=True, slots=True)
class FoundText:
    """A line of text.

    Attributes:
        characters: N of them, from left to right; their concatenation is the text.
        confidences: (N,) float32, the probability of each in the first column that shows it.
        columns: (N,) int32, that column of the network's output.
    """

    characters: tuple[str, ...]
    confidences: NDArray[np.float32]
    columns: NDArray[np.int32]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(self.characters)

    @property
    def confidence(self) -> float:
        """Mean of the characters' confidences, as PP-OCR gives it; 0 for an empty line."""
        return float(self.confidences.mean(dtype=np.float64)) if len(self.confidences) else 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """A classifier's best classes, highest score first.

    Attributes:
        class_ids: (K,) int32.
        scores: (K,) float32 probabilities.
    """

    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NamedCosine:
    """A name of a gallery and the cosine of an embedding and the nearest one of the name's."""

    name: str
    cosine: float


@dataclass(frozen=True, slots=True)
class FoundMatch:
    """Names of a gallery that an embedding is nearest to.

    Attributes:
        name: the nearest one, if its cosine reaches the threshold; else None.
        nearest: the nearest ones, whatever their cosine, best first.
    """

    name: str | None
    nearest: tuple[NamedCosine, ...]

    @property
    def cosine(self) -> float:
        """Cosine of the nearest name; -1 without names."""
        return self.nearest[0].cosine if self.nearest else -1.0


@dataclass(frozen=True, slots=True)
class NestedResult:
    """Result of a further model of a chain for one object.

    Attributes:
        model: name of its bundle.
        class_names: its class names by class id.
        detections: what it found; coordinates are pixels of the source image, class maps and depth those of the crop.
    """

    model: str
    class_names: tuple[str, ...]
    detections: Detections


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one image, sorted by score, highest first, and the results for the image as a whole.

    Attributes:
        xyxy: (N, 4) float32, x1, y1, x2, y2 in pixels of the source image, clipped to it.  For rotated boxes the
            smallest upright box around each.
        scores: (N,) float32, 0..1.
        class_ids: (N,) int32, index into the contract's class names.
        keypoints: (N, K, 3) float32, x, y in source pixels, clipped to the image, and the visibility 0..1 (1 where the
            model has none); None for models without keypoints.
        rotated: (N, 5) float32, center x, y, width, height in source pixels and the angle in radians, from the x axis
            toward the y axis; not clipped.  None for models with upright boxes.
        masks: one per object; None for models without instance masks.
        class_maps: one per `class_map` of the contract.
        ranking: of a classifier, which finds no objects, or of a text's attribute; None for other models.
        depth: of a depth model, which finds no objects; None for other models.
        text: of a text recognizer, which finds no objects; None for other models.
        embedding: (D,) float32 of length 1, of a model that gives a vector of the image; all zeros where the network
            gave none.  None for other models.
        match: of the embedding in a gallery; None without one.
        nested: of a chain: one entry per object, which has one entry per further model, None where it did not run or
            failed.  None without a chain.
        tracks: of the objects; None where they are not tracked.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None
    rotated: NDArray[np.float32] | None = None
    masks: tuple[InstanceMask, ...] | None = None
    class_maps: tuple[FoundClassMap, ...] = ()
    ranking: Ranking | None = None
    depth: FoundDepth | None = None
    text: FoundText | None = None
    embedding: NDArray[np.float32] | None = None
    match: FoundMatch | None = None
    nested: tuple[tuple[NestedResult | None, ...], ...] | None = None
    tracks: FoundTracks | None = None

    @classmethod
    def empty(cls) -> Detections:
        """No objects: arrays of shape (0, 4), (0,) and (0,)."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, confidence: float) -> Detections:
        """The objects whose score is greater than `confidence`; results for the whole image stay."""
        return self.where(self.scores > confidence)

    def where(self, kept: NDArray[np.bool_]) -> Detections:
        """The objects for which `kept`, (N,), is True, in their order; results for the whole image stay."""
        # tuples are made from lists: see `found_tracks`
        return replace(
            self,
            xyxy=self.xyxy[kept],
            scores=self.scores[kept],
            class_ids=self.class_ids[kept],
            keypoints=None if self.keypoints is None else self.keypoints[kept],
            rotated=None if self.rotated is None else self.rotated[kept],
            masks=None if self.masks is None else (*compress(self.masks, kept.tolist()),),
            nested=None if self.nested is None else (*compress(self.nested, kept.tolist()),),
            tracks=None if self.tracks is None else self.tracks.where(kept),
        )
