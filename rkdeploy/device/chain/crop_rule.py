"""Rule by which detections become crops for a further model: which of them, how many, and of what form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.chain.face_alignment import face_region
from rkdeploy.device.chain.region import Region, clockwise, in_reading_order, widened
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.thresholds import class_ids_of
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.contract.spec import InputSpec, ModelSpec
    from rkdeploy.device.postprocess.detections import Detections

CropKind = Literal["box", "corners", "rotated", "landmarks"]
"""Form of a crop: the upright box; straightened by four corner keypoints; a rotated box, its text lying; a face
aligned by five landmarks."""
DEFAULT_LIMIT: Final = 100
MAX_MARGIN: Final = 5.0
_OF_THE_OBJECT_ALONE: Final = frozenset({"text", "classify", "embedding"})
_WITHOUT_OBJECTS: Final = frozenset({"classify", "semantic", "depth", "text", "embedding"})
_KINDS: Final[tuple[CropKind, ...]] = get_args(CropKind)
_NEEDS: Final[dict[CropKind, str]] = {
    "corners": "four keypoints",
    "landmarks": "five keypoints",
    "rotated": "rotated boxes",
}


@dataclass(frozen=True, slots=True)
class CropRule:
    """Detections to take and the form of their crops.

    Attributes:
        kind: form of the crop.
        class_ids: of the detector; None takes all.
        margin: share of the width and height that is added on each side; a face's template has its own.
        limit: crops per frame at most, of the detections with the highest scores.
        above: by class id of the detector, the score above which a detection is taken; None takes all.
    """

    kind: CropKind = "box"
    class_ids: frozenset[int] | None = None
    margin: float = 0.0
    limit: int = DEFAULT_LIMIT
    above: tuple[float, ...] | None = None

    def takes(self, class_id: int, score: float) -> bool:
        """True for a detection that is looked at."""
        if self.class_ids is not None and class_id not in self.class_ids:
            return False
        return self.above is None or score > self.above[class_id]


def crop_rule(
    detector: ModelSpec,
    recognizer: ModelSpec,
    *,
    of: Sequence[str | int] | None = None,
    crop: str = "auto",
    margin: float = 0.0,
    limit: int = DEFAULT_LIMIT,
) -> CropRule:
    """Rule for a pair of models.

    Args:
        detector: contract of the model that finds the objects.
        recognizer: contract of the model that looks at each.
        of: names or ids of the detector's classes; None takes all.
        crop: a `CropKind`, or `auto`: `rotated` for rotated boxes, `corners` for four keypoints and a recognizer of
            text, classes or vectors, `landmarks` for five keypoints and a recognizer of aligned faces, else `box`.
        margin: see `CropRule`.
        limit: see `CropRule`.

    Raises:
        RkdeployError: when the first model finds no objects, has no such class, or lacks what the crop needs (for
            `auto`: the landmarks of a recognizer of aligned faces), or when a number is out of its range.
    """
    if detector.task in _WITHOUT_OBJECTS:
        raise RkdeployError(
            f'A chain begins with a model that finds objects, and this one does "{detector.task}".',
            "Name the detector first, then the recognizers with --then.",
        )
    if not (math.isfinite(margin) and 0 <= margin <= MAX_MARGIN):
        raise RkdeployError(f"The margin is {margin}, expected 0 to {MAX_MARGIN:g}: a share of the width and height.")
    if limit < 1:
        raise RkdeployError(f"The limit of crops per frame is {limit}, expected 1 or more.")
    kind = _kind(crop, detector, recognizer)
    names = detector.class_names
    ids = None if of is None else frozenset(i for named in of for i in class_ids_of(named, names))
    return CropRule(kind, ids, margin, limit)


def possible_kinds(detector: ModelSpec) -> tuple[CropKind, ...]:
    """Forms of crops that a detector's results allow."""
    points = 0 if detector.keypoints is None else detector.keypoints.count
    has = {"box": True, "corners": points == 4, "landmarks": points == 5, "rotated": _is_rotated(detector)}
    return tuple(kind for kind in _KINDS if has[kind])


def _kind(crop: str, detector: ModelSpec, recognizer: ModelSpec) -> CropKind:
    possible = possible_kinds(detector)
    if crop == "auto":
        suited: dict[CropKind, bool] = {
            "rotated": True,
            "corners": recognizer.task in _OF_THE_OBJECT_ALONE,
            "landmarks": _of_aligned_faces(recognizer),
        }
        if _of_aligned_faces(recognizer) and "landmarks" not in possible:
            raise RkdeployError(
                "The recognizer was trained on faces that are aligned by five landmarks, and the detector gives none.",
                "Take a detector with five landmarks, such as SCRFD, RetinaFace or YuNet; --crop box does it anyway.",
            )
        return next((kind for kind, suits in suited.items() if suits and kind in possible), "box")
    chosen: CropKind | None = next((kind for kind in _KINDS if kind == crop), None)
    if chosen is None:
        raise RkdeployError(f'"{crop}" is not a form of crop, expected auto, {", ".join(_KINDS)}.')
    if chosen not in possible:
        raise RkdeployError(
            f'Crops by "{crop}" need a detector with {_NEEDS[chosen]}, which this one does not have.',
            f"Possible here: {', '.join(possible)}.",
        )
    return chosen


def _of_aligned_faces(recognizer: ModelSpec) -> bool:
    return recognizer.embedding is not None and recognizer.embedding.alignment == "face"


def _is_rotated(spec: ModelSpec) -> bool:
    return spec.angle is not None or spec.task in ("obb", "text_areas")


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops of one frame.

    Attributes:
        regions: index of the detection, and the part of the frame; in the detections' order.
        left_out: detections of the wanted classes beyond the limit, or without a usable region.
    """

    regions: tuple[tuple[int, Region], ...]
    left_out: int


def crops_of(detections: Detections, rule: CropRule, spec: InputSpec, frame_hw: tuple[int, int]) -> Crops:
    """Crops of one frame by a rule.

    Args:
        detections: in pixels of the frame, best score first.
        rule: which of them and how.
        spec: input of the model that the crops are for.
        frame_hw: height and width of the frame.
    """
    found_objects = zip(detections.class_ids.tolist(), detections.scores.tolist(), strict=True)
    wanted = [i for i, (class_id, score) in enumerate(found_objects) if rule.takes(class_id, score)]
    found = [(i, _region(detections, i, rule, spec, frame_hw)) for i in wanted[: rule.limit]]
    regions = tuple((i, region) for i, region in found if region is not None)
    return Crops(regions, len(wanted) - len(regions))


def _region(
    detections: Detections, index: int, rule: CropRule, spec: InputSpec, frame_hw: tuple[int, int]
) -> Region | None:
    if rule.kind == "box":
        return box_region(detections.xyxy[index], rule.margin, frame_hw)
    if rule.kind == "rotated":
        assert detections.rotated is not None, "the rule was made for a detector of rotated boxes"
        corners = in_reading_order(corners_of(detections.rotated[index : index + 1])[0])
        return Region.of_corners(widened(corners, rule.margin))
    assert detections.keypoints is not None, "the rule was made for a detector of keypoints"
    points = detections.keypoints[index, :, :2]
    if rule.kind == "landmarks":
        return face_region(points, spec.height, spec.width)
    return Region.of_corners(widened(clockwise(points), rule.margin))


def box_region(xyxy: NDArray[np.floating[Any]], margin: float, frame_hw: tuple[int, int]) -> Region | None:
    """Upright part of a frame: a box with a margin, rounded outward to whole pixels and clipped.

    Args:
        xyxy: (4,) x1, y1, x2, y2 in pixels of the frame.
        margin: share of the width and height that is added on each side.
        frame_hw: height and width of the frame.

    Returns:
        None if nothing of it lies in the frame.
    """
    x1, y1, x2, y2 = (float(value) for value in xyxy)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        return None
    more_x, more_y = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, math.floor(x1 - more_x)), max(0, math.floor(y1 - more_y))
    right, bottom = min(frame_hw[1], math.ceil(x2 + more_x)), min(frame_hw[0], math.ceil(y2 + more_y))
    if right <= left or bottom <= top:
        return None
    return Region.upright(left, top, right - left, bottom - top)
