"""Predictions for one labeled image, kept for scoring, and their form in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.images.coco_rle import rle_counts


@dataclass(frozen=True, slots=True)
class ImagePrediction:
    """Predictions for one image.

    Attributes:
        name: of the image.
        source_hw: its height and width in pixels; (0, 0) if it could not be read.
        xyxy, scores, class_ids, keypoints, rotated: as in `Detections`, best score first.
        masks: COCO run lengths, one per object; None if the model has none.
        ranking: (K,) int32 class ids, best first, of a classifier; else None.
        confusions: pixels of each class map by (truth, found), (n, n) int64.
        unlabeled: pixels of each class map with the value 255, which are ignored.
        depth: AbsRel, delta1 and root mean square (meters) of a depth map; None without.
        embedding: (D,) float32 of length 1; None for other models.
        text: whether the text that was read is the right one, and the accuracy of its characters (`TextErrors`); None
            for other models.
        failure: reason why the image could not be read; empty if it was.
    """

    name: str
    source_hw: tuple[int, int]
    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None
    rotated: NDArray[np.float32] | None = None
    masks: tuple[str, ...] | None = None
    ranking: NDArray[np.int32] | None = None
    confusions: tuple[NDArray[np.int64], ...] = ()
    unlabeled: tuple[int, ...] = ()
    depth: tuple[float, float, float] | None = None
    embedding: NDArray[np.float32] | None = None
    text: tuple[bool, float] | None = None
    failure: str = ""


def prediction_of(
    name: str,
    found: Detections,
    source_hw: tuple[int, int],
    confusions: tuple[NDArray[np.int64], ...],
    unlabeled: tuple[int, ...],
) -> ImagePrediction:
    """The part of an image's detections that is kept."""
    masks = found.masks
    return ImagePrediction(
        name=name,
        source_hw=source_hw,
        xyxy=found.xyxy,
        scores=found.scores,
        class_ids=found.class_ids,
        keypoints=found.keypoints,
        rotated=found.rotated,
        masks=None if masks is None else tuple(rle_counts(m.pixels, m.left, m.top, source_hw) for m in masks),
        ranking=None if found.ranking is None else found.ranking.class_ids,
        confusions=confusions,
        unlabeled=unlabeled,
        embedding=found.embedding,
    )


def unreadable(name: str, failure: str) -> ImagePrediction:
    """The entry of an image that could not be read."""
    none = Detections.empty()
    return ImagePrediction(name, (0, 0), none.xyxy, none.scores, none.class_ids, failure=failure)


_AS_NAMED: Final = ("utf-8", "surrogateescape")


class _Array(msgspec.Struct, array_like=True):
    dtype: str
    shape: list[int]
    data: bytes


class _Stored(msgspec.Struct):
    name: bytes  # the file system's encoding: not every name is UTF-8
    source_hw: tuple[int, int]
    xyxy: _Array
    scores: _Array
    class_ids: _Array
    keypoints: _Array | None
    rotated: _Array | None
    masks: list[str] | None
    ranking: _Array | None
    confusions: list[_Array]
    unlabeled: list[int]
    depth: tuple[float, float, float] | None
    embedding: _Array | None
    text: tuple[bool, float] | None
    failure: bytes  # the message already contains the name


class _StoredPart(msgspec.Struct):
    figures_from: str
    predictions: list[_Stored]


def encoded(predictions: list[ImagePrediction], figures_from: str) -> bytes:
    """Predictions, and what they come from, as bytes."""
    stored = [
        _Stored(
            name=_bytes(p.name),
            source_hw=p.source_hw,
            xyxy=_packed(p.xyxy),
            scores=_packed(p.scores),
            class_ids=_packed(p.class_ids),
            keypoints=None if p.keypoints is None else _packed(p.keypoints),
            rotated=None if p.rotated is None else _packed(p.rotated),
            masks=None if p.masks is None else list(p.masks),
            ranking=None if p.ranking is None else _packed(p.ranking),
            confusions=[_packed(c) for c in p.confusions],
            unlabeled=list(p.unlabeled),
            depth=p.depth,
            embedding=None if p.embedding is None else _packed(p.embedding),
            text=p.text,
            failure=_bytes(p.failure),
        )
        for p in predictions
    ]
    return msgspec.msgpack.encode(_StoredPart(figures_from, stored))


def decoded(data: bytes) -> tuple[list[ImagePrediction], str]:
    """Decode the bytes of `encoded`.

    Raises:
        ValueError: when the bytes are something else, or damaged.
    """
    part = msgspec.msgpack.decode(data, type=_StoredPart)  # its errors are subclasses of ValueError
    return [_prediction(stored) for stored in part.predictions], part.figures_from


def _prediction(s: _Stored) -> ImagePrediction:
    count = s.scores.shape[0] if s.scores.shape else -1
    if s.masks is not None and len(s.masks) != count:
        raise ValueError("masks do not fit the scores")
    return ImagePrediction(
        name=s.name.decode(*_AS_NAMED),
        source_hw=s.source_hw,
        xyxy=_unpacked(s.xyxy, np.float32, (count, 4)),
        scores=_unpacked(s.scores, np.float32, (count,)),
        class_ids=_unpacked(s.class_ids, np.int32, (count,)),
        keypoints=None if s.keypoints is None else _unpacked(s.keypoints, np.float32, (count, -1, 3)),
        rotated=None if s.rotated is None else _unpacked(s.rotated, np.float32, (count, 5)),
        masks=None if s.masks is None else tuple(s.masks),
        ranking=None if s.ranking is None else _unpacked(s.ranking, np.int32, (-1,)),
        confusions=tuple(_unpacked(c, np.int64, (-1, -1)) for c in s.confusions),
        unlabeled=tuple(s.unlabeled),
        depth=s.depth,
        embedding=None if s.embedding is None else _unpacked(s.embedding, np.float32, (-1,)),
        text=s.text,
        failure=s.failure.decode(*_AS_NAMED),
    )


def _bytes(text: str) -> bytes:
    return text.encode(*_AS_NAMED)


def _packed(values: NDArray[Any]) -> _Array:
    return _Array(values.dtype.str, list(values.shape), np.ascontiguousarray(values).tobytes())


def _unpacked(stored: _Array, dtype: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array, of the expected type and shape (-1: any length)."""
    fits = len(stored.shape) == len(shape) and all(b in (-1, a) for a, b in zip(stored.shape, shape, strict=True))
    if np.dtype(dtype).str != stored.dtype or not fits:
        raise ValueError("an array of another type or shape")
    return np.frombuffer(stored.data, dtype).reshape(stored.shape)
