"""Example pictures in a bundle: a few held-out images, small, with the detections of the float and the quantized model.

    examples/
      examples.json  1.jpg  2.jpg ...

Plain data, and the conversion to and from `Detections`.  See docs/bundle.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from rkdeploy.accuracy.kept_depth import KeptDepth, found_depth, kept_depth
from rkdeploy.accuracy.kept_text import KeptCharacter, found_text, kept_text
from rkdeploy.contract.bundle import MAX_EXAMPLES
from rkdeploy.contract.documents import read_document
from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import ModelSpec, has_rotated_boxes
from rkdeploy.device.postprocess.class_pixels import count_class_pixels
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask, Ranking
from rkdeploy.errors import BundleError, RkdeployError
from rkdeploy.images.coco_rle import mask_of_rle, rle_counts

FOLDER, INDEX = "examples", "examples.json"
EXAMPLES_VERSION = 1
MAX_SIDE = 640
"""Longest side of a kept picture in pixels."""

_RANKED = 5
_MAX_CHARACTERS = 4096
_MAX_OBJECTS = 1000
_MAX_JPEG_BYTES = 4 << 20
_REBUILD = "Build it again with rkdeploy build, or copy it again."

Coordinate = Annotated[float, Meta(gt=-1e6, lt=1e6)]
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Point = tuple[Coordinate, Coordinate, Coordinate]


@dataclass(frozen=True, slots=True)
class KeptObject:
    """One object.  Coordinates are pixels of the kept picture.

    Attributes:
        xyxy: box.
        score: 0..1.
        class_id: index into the contract's class names.
        keypoints: x, y, visibility each; None for models without.
        rotated: center x, y, width, height, angle in radians; None for upright boxes.
        mask: COCO run lengths of the whole picture; None for models without masks.
    """

    xyxy: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    score: Coordinate
    class_id: int
    keypoints: tuple[Point, ...] | None = None
    rotated: tuple[Coordinate, Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class KeptMapClass:
    """The pixels of one class of a class map, as COCO run lengths of the whole picture."""

    class_id: int
    mask: str


@dataclass(frozen=True, slots=True)
class KeptMap:
    """A class map: its output's name and the pixels of every class but the first."""

    name: str
    classes: tuple[KeptMapClass, ...]


@dataclass(frozen=True, slots=True)
class KeptRank:
    """One class of a classifier's ranking."""

    class_id: int
    score: float


@dataclass(frozen=True, slots=True)
class KeptResult:
    """Detections of one side in one picture.

    `ranking` is a classifier's or of a text's attribute, best first, `text` a recognizer's; else None.
    """

    objects: Annotated[tuple[KeptObject, ...], Meta(max_length=_MAX_OBJECTS)]
    class_maps: tuple[KeptMap, ...] = ()
    ranking: tuple[KeptRank, ...] | None = None
    depth: KeptDepth | None = None
    text: Annotated[tuple[KeptCharacter, ...], Meta(max_length=_MAX_CHARACTERS)] | None = None


@dataclass(frozen=True, slots=True)
class KeptExample:
    """One picture.

    Attributes:
        file: its JPEG in the folder.
        source: name of the original image.
        width, height: of the JPEG, pixels.
        reference: detections of the float model.
        built: detections of the quantized model.
        pairs: matched objects, (index in `reference`, index in `built`).
    """

    file: Annotated[str, Meta(pattern=r"^[^/\x00]*\.jpg$(?!\n)")]
    source: str
    width: Side
    height: Side
    reference: KeptResult
    built: KeptResult
    pairs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptExamples:
    """`examples.json`.

    Attributes:
        reference_from, built_from: backends of the float and the quantized model.
        confidence: lowest score of the kept objects.
        iou, score_difference: limits of a pair, as in `Agreement`.
        images: the pictures.
        schema_version, document: what this file is.
    """

    reference_from: str
    built_from: str
    confidence: float
    iou: float
    score_difference: float
    images: Annotated[tuple[KeptExample, ...], Meta(max_length=MAX_EXAMPLES)]
    schema_version: int = EXAMPLES_VERSION
    document: Literal["rkdeploy examples"] = "rkdeploy examples"


def kept_result(found: Detections, hw: tuple[int, int]) -> KeptResult:
    """Detections in the form of the file.

    Args:
        found: in pixels of the kept picture.
        hw: height and width of that picture.
    """
    objects = []
    for i in range(len(found)):
        masks = found.masks
        objects.append(
            KeptObject(
                xyxy=_four(found.xyxy[i]),
                score=round(float(found.scores[i]), 5),
                class_id=int(found.class_ids[i]),
                keypoints=None if found.keypoints is None else tuple(_point(p) for p in found.keypoints[i].tolist()),
                rotated=None if found.rotated is None else _five(found.rotated[i]),
                mask=None if masks is None else rle_counts(masks[i].pixels, masks[i].left, masks[i].top, hw),
            )
        )
    ranking = found.ranking
    return KeptResult(
        objects=tuple(objects),
        class_maps=tuple(_kept_map(one, hw) for one in found.class_maps),
        depth=None if found.depth is None else kept_depth(found.depth),
        text=None if found.text is None else kept_text(found.text),
        ranking=None
        if ranking is None
        else tuple(
            KeptRank(i, round(score, 5))
            for i, score in zip(ranking.class_ids[:_RANKED].tolist(), ranking.scores[:_RANKED].tolist(), strict=True)
        ),
    )


def detections_of(kept: KeptResult, spec: ModelSpec, hw: tuple[int, int]) -> Detections:
    """Kept detections as `Detections`, for drawing.

    Args:
        kept: as it was read; `read_examples` has checked its numbers.
        spec: the contract, for the names of class maps.
        hw: height and width of the picture.
    """
    objects = kept.objects
    keypoints = [one.keypoints for one in objects if one.keypoints is not None]
    rotated = [one.rotated for one in objects if one.rotated is not None]
    masks = [one.mask for one in objects if one.mask is not None]
    count = spec.keypoints.count if spec.keypoints is not None else 0
    maps = {known.output: known for known in spec.class_maps}
    return Detections(
        xyxy=np.array([one.xyxy for one in objects], np.float32).reshape(-1, 4),
        scores=np.array([one.score for one in objects], np.float32),
        class_ids=np.array([one.class_id for one in objects], np.int32),
        keypoints=np.array(keypoints, np.float32).reshape(-1, count, 3) if count else None,
        rotated=np.array(rotated, np.float32).reshape(-1, 5) if has_rotated_boxes(spec) else None,
        masks=tuple(_instance_mask(mask, hw) for mask in masks) if masks else None,
        class_maps=tuple(_found_map(one, maps[one.name], hw) for one in kept.class_maps),
        depth=None if kept.depth is None or spec.depth is None else found_depth(kept.depth, spec.depth.kind, hw),
        text=None if kept.text is None else found_text(kept.text),
        ranking=None
        if kept.ranking is None
        else Ranking(
            np.array([one.class_id for one in kept.ranking], np.int32),
            np.array([one.score for one in kept.ranking], np.float32),
        ),
    )


def read_examples(folder: Path, spec: ModelSpec) -> KeptExamples | None:
    """The examples of a bundle; None if it has none, like bundles of earlier releases.

    Args:
        folder: of the bundle.
        spec: its contract, which the objects must fit.

    Raises:
        BundleError: damaged, invalid, or of another schema version.
    """
    index = folder / FOLDER / INDEX
    if not index.is_file():
        return None
    try:
        kept = read_document(index, (KeptExamples,), _REBUILD)
    except RkdeployError as error:
        raise BundleError(error.message, error.hint) from error
    wrong = _impossible(kept, spec)
    if wrong:
        raise BundleError(f'"{index}" is invalid: {wrong}.', _REBUILD)
    return kept


def read_picture(folder: Path, example: KeptExample) -> NDArray[np.uint8]:
    """The picture of an example, (H, W, 3) uint8 BGR.

    Raises:
        BundleError: missing, damaged, or of another size.
    """
    path = folder / FOLDER / example.file
    try:
        small = path.is_file() and path.stat().st_size <= _MAX_JPEG_BYTES
        data = path.read_bytes() if small else b""
    except OSError as error:
        raise BundleError(f'Cannot read "{path}": {error.strerror}.', _REBUILD) from error
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None or image.shape[:2] != (example.height, example.width):
        raise BundleError(
            f'"{path}" is not a picture of {example.width}x{example.height} pixels, as {INDEX} says.', _REBUILD
        )
    return np.asarray(image, np.uint8)


def _impossible(kept: KeptExamples, spec: ModelSpec) -> str:
    """First error in the numbers; empty if there is none."""
    for one in kept.images:
        for side in (one.reference, one.built):
            wrong = _wrong_result(side, spec)
            if wrong:
                return wrong
        lengths = (len(one.reference.objects), len(one.built.objects))
        if any(not (0 <= a < lengths[0] and 0 <= b < lengths[1]) for a, b in one.pairs):
            return "a pair refers to an object that does not exist"
    return ""


def _wrong_result(result: KeptResult, spec: ModelSpec) -> str:
    ids = [one.class_id for one in result.objects] + [ranked.class_id for ranked in result.ranking or ()]
    if any(not 0 <= i < len(spec.class_names) for i in ids):
        return f"a class that is not one of the contract's {len(spec.class_names)}"
    points = spec.keypoints.count if spec.keypoints is not None else None
    masks = [one.mask is not None for one in result.objects]
    for one in result.objects:
        if (None if one.keypoints is None else len(one.keypoints)) != points:
            return "an object has other keypoints than the contract"
        if (one.rotated is not None) != has_rotated_boxes(spec):
            return "an object's box is not of the contract's kind"
    if masks and any(masks) != all(masks):
        return "some objects have masks and some have none"
    known = {one.output: len(one.class_names) for one in spec.class_maps}
    for one_map in result.class_maps:
        if one_map.name not in known or any(not 0 < c.class_id < known[one_map.name] for c in one_map.classes):
            return "a class map that is not one of the contract's"
    if result.text is not None and spec.text is None:
        return "a text where the contract has none"
    if (result.depth is not None) != (spec.depth is not None):
        return "a depth where the contract has none, or none where it has one"
    if result.depth is not None and spec.depth is not None:
        try:
            found_depth(result.depth, spec.depth.kind, (1, 1))
        except ValueError as error:
            return str(error)
    return ""


def _kept_map(found: FoundClassMap, hw: tuple[int, int]) -> KeptMap:
    pixels = count_class_pixels(found.class_ids, len(found.class_names))
    there = [i for i in np.flatnonzero(pixels).tolist() if i]
    return KeptMap(found.name, tuple(KeptMapClass(i, rle_counts(found.class_ids == i, 0, 0, hw)) for i in there))


def _found_map(kept: KeptMap, known: ClassMapSpec, hw: tuple[int, int]) -> FoundClassMap:
    class_ids = np.zeros(hw, np.uint8)
    for one in kept.classes:
        class_ids[mask_of_rle(one.mask, hw)] = one.class_id
    return FoundClassMap(kept.name, known.class_names, class_ids, known.background)


def _instance_mask(counts: str, hw: tuple[int, int]) -> InstanceMask:
    """A mask, cut out around the object."""
    whole = mask_of_rle(counts, hw)
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(whole).view(np.uint8))
    return InstanceMask(left, top, whole[top : top + height, left : left + width].copy())


def _four(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    a, b, c, d = (round(float(v), 2) for v in values)
    return a, b, c, d


def _five(values: NDArray[np.float32]) -> tuple[float, float, float, float, float]:
    return (*_four(values[:4]), round(float(values[4]), 5))


def _point(values: list[float]) -> tuple[float, float, float]:
    return round(values[0], 2), round(values[1], 2), round(values[2], 3)
