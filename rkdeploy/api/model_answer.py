"""Results of one model for an image, or for an object of it: `xyxy`, `confidence`, `class_id`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.api.result_parts import (
    ClassMap,
    ClassRanking,
    DepthMap,
    GalleryMatch,
    Keypoints,
    Masks,
    RotatedBoxes,
    TextLine,
)
from rkdeploy.device.chain.answer_words import answer_words
from rkdeploy.device.postprocess.detections import Detections, NestedResult
from rkdeploy.device.stream.frame_picture import FramePicture, picture_of


@dataclass(frozen=True, slots=True, eq=False)
class ModelAnswer:
    """Results of a model.  All coordinates are pixels of the image, x to the right, y down.

    Attributes:
        content: the image as an array, or as a picture of a video that is converted when it is asked for.
        names: the model's class names by class id.
        detections: what was found, as the commands handle it.
    """

    content: NDArray[np.uint8] | FramePicture
    names: tuple[str, ...]
    detections: Detections

    def __len__(self) -> int:
        """Number of detected objects."""
        return len(self.detections)

    @property
    def frame(self) -> NDArray[np.uint8]:
        """The image, (H, W, 3) uint8 BGR.  A video's is converted at the first call."""
        return picture_of(self.content).bgr()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels, known without a conversion."""
        return picture_of(self.content).size_hw

    @property
    def boxes(self) -> Boxes:
        """The detected objects; none for a classifier or a model that gives class maps only."""
        found = self.detections
        ids = None if found.tracks is None else found.tracks.ids
        return Boxes(found.xyxy, found.scores, found.class_ids, _named(self.names, found.class_ids), self.then, ids)

    @property
    def then(self) -> tuple[tuple[ChainedAnswer | None, ...], ...] | None:
        """Answers of the further models of a chain for each object, in the order of `boxes`; None without a chain.

        Each object has one entry per further model, None where that did not run or failed.
        """
        nested = self.detections.nested
        if nested is None:
            return None
        return tuple(tuple(None if one is None else self._chained(one) for one in answers) for answers in nested)

    def _chained(self, nested: NestedResult) -> ChainedAnswer:
        return ChainedAnswer(self.content, nested.class_names, nested.detections, nested.model)

    @property
    def keypoints(self) -> Keypoints | None:
        """Keypoints per object, in the order of `boxes`; None for models without."""
        points = self.detections.keypoints
        return None if points is None else Keypoints(points[..., :2], points[..., 2])

    @property
    def masks(self) -> Masks | None:
        """A mask per object, in the order of `boxes`; None for models without."""
        masks = self.detections.masks
        return None if masks is None else Masks(masks, self.image_hw)

    @property
    def obb(self) -> RotatedBoxes | None:
        """An oriented box per object, in the order of `boxes`; None for models without."""
        rotated = self.detections.rotated
        return None if rotated is None else RotatedBoxes(rotated)

    @property
    def class_maps(self) -> tuple[ClassMap, ...]:
        """The class maps of the whole image; empty for models without."""
        return tuple(ClassMap(m.name, m.class_names, m.class_ids, m.background) for m in self.detections.class_maps)

    @property
    def class_map(self) -> ClassMap | None:
        """The first class map, which is the only one of a semantic model; None for models without."""
        return next(iter(self.class_maps), None)

    @property
    def depth(self) -> DepthMap | None:
        """The depth of every pixel; None for models without."""
        found = self.detections.depth
        return None if found is None else DepthMap(found.values, found.kind)

    @property
    def text(self) -> TextLine | None:
        """The text that a recognizer read; None for other models."""
        found = self.detections.text
        if found is None:
            return None
        return TextLine(found.text, found.confidence, found.characters, found.confidences, found.columns)

    @property
    def embedding(self) -> NDArray[np.float32] | None:
        """The vector of the image, (D,) float32 of length 1: the product of two is their cosine; None for models
        without.
        """
        return self.detections.embedding

    @property
    def match(self) -> GalleryMatch | None:
        """The name that the gallery gives the embedding; None without a gallery or an embedding."""
        found = self.detections.match
        if found is None:
            return None
        return GalleryMatch(found.name, found.cosine, tuple((one.name, one.cosine) for one in found.nearest))

    @property
    def ranking(self) -> ClassRanking | None:
        """A classifier's answer, or a text's attribute such as the plate's color; None for other models."""
        ranking = self.detections.ranking
        if ranking is None:
            return None
        return ClassRanking(ranking.class_ids, ranking.scores, _named(self.names, ranking.class_ids))

    def counts(self) -> dict[str, int]:
        """Number of objects per class name, of the classes that were found."""
        ids, counts = np.unique(self.detections.class_ids, return_counts=True)
        named: dict[str, int] = {}
        for name, count in zip(_named(self.names, ids), counts.tolist(), strict=True):
            named[name] = named.get(name, 0) + count  # a model may carry one name on two class ids
        return named


@dataclass(frozen=True, slots=True, eq=False)
class ChainedAnswer(ModelAnswer):
    """Results of a further model of a chain for one object.

    Boxes, keypoints and masks are in pixels of the whole image; class maps and depth are those of the object's crop.

    Attributes:
        model: name of the model's bundle.
    """

    model: str

    def __bool__(self) -> bool:
        """True: there is an answer, whether it has objects or not."""
        return True

    def __repr__(self) -> str:
        said = answer_words(NestedResult(self.model, self.names, self.detections)) or "no words"
        return f"<ChainedAnswer of {self.model}: {said}>"


@dataclass(frozen=True, slots=True)
class Box:
    """One detected object.

    Attributes:
        xyxy: x1, y1, x2, y2 in pixels of the image.
        confidence: 0..1.
        class_id: index into `Result.names`.
        class_name: name of the class.
        answers: of the further models of a chain, one each, None where it did not run or failed; empty without a chain.
        track_id: id of its track, from 1; None in its first frame, and without tracking.
    """

    xyxy: tuple[float, float, float, float]
    confidence: float
    class_id: int
    class_name: str
    answers: tuple[ChainedAnswer | None, ...] = ()
    track_id: int | None = None

    @property
    def then(self) -> ChainedAnswer | None:
        """The answer of a chain's only further model, or of its first one; None where there is none."""
        return next(iter(self.answers), None)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The detected objects, highest confidence first.  Its length is their number; iterating gives a `Box` each.

    Attributes:
        xyxy: (N, 4) float32, x1, y1, x2, y2 in pixels of the image, clipped to it.  For rotated boxes the smallest
            upright box around each.
        confidence: (N,) float32, 0..1.
        class_id: (N,) int32, index into `Result.names`.
        class_name: (N,) names.
        answers: `Box.answers` of each; None without a chain.
        track_id: (N,) int32, ids of their tracks, from 1; 0 for an object in its first frame.  None without tracking.
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_name: tuple[str, ...]
    answers: tuple[tuple[ChainedAnswer | None, ...], ...] | None = None
    track_id: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.confidence)

    def __iter__(self) -> Iterator[Box]:
        corners, confidences, ids = self.xyxy.tolist(), self.confidence.tolist(), self.class_id.tolist()
        answers = ((),) * len(self) if self.answers is None else self.answers
        tracks = [0] * len(self) if self.track_id is None else self.track_id.tolist()
        for (x1, y1, x2, y2), confidence, class_id, name, then, track_id in zip(
            corners, confidences, ids, self.class_name, answers, tracks, strict=True
        ):
            yield Box((x1, y1, x2, y2), confidence, class_id, name, then, track_id or None)


@dataclass(frozen=True, slots=True, eq=False)
class ResultParts:
    """All parts of a result.

    Attributes:
        boxes: of the objects.
        keypoints, masks, obb: of each object, in the order of `boxes`; None for models without.
        ranking: of a classifier.
    """

    boxes: Boxes
    keypoints: Keypoints | None
    masks: Masks | None
    obb: RotatedBoxes | None
    ranking: ClassRanking | None


def _named(names: Sequence[str], class_ids: NDArray[Any]) -> tuple[str, ...]:
    return tuple(names[i] for i in class_ids.tolist())
