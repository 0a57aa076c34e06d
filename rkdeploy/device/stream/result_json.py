"""Detections of a frame as plain data for JSON, for `run --json` and the web view.

Numbers that are not finite become None, which JSON has as null.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from rkdeploy.device.postprocess.class_pixels import count_class_pixels
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import (
    Detections,
    FoundClassMap,
    FoundDepth,
    FoundMatch,
    FoundText,
    InstanceMask,
    NestedResult,
    Ranking,
)
from rkdeploy.device.stream.track_json import count_fields, track_fields
from rkdeploy.images.coco_rle import rle_counts

if TYPE_CHECKING:
    from rkdeploy.device.stream.frames import CaptureTime

RANKED = 5
"""Classes of a ranking that are written."""
_STEP = 4


def result_object(
    source: str,
    frame_index: int,
    image_hw: tuple[int, int],
    detections: Detections,
    class_names: Sequence[str],
    *,
    captured: CaptureTime | None = None,
    position_ms: float | None = None,
    map_masks: bool = False,
    embeddings: bool = True,
) -> dict[str, Any]:
    """The JSON object of one frame.  Fields that the model does not have are omitted.

    Args:
        source: source of the frame.
        frame_index: index in the source.
        image_hw: height and width of the frame, to which masks belong.
        detections: in pixels of the frame.
        class_names: by class id.
        captured: when the frame was read.
        position_ms: milliseconds since the start of the source.
        map_masks: True to include the pixels of each class of class maps.
        embeddings: False to leave embeddings out.
    """
    found = [_box(detections, i, class_names) for i in range(len(detections))]
    if detections.keypoints is not None:
        for one, points in zip(found, detections.keypoints.tolist(), strict=True):
            one["keypoints"] = [[_rounded(x, 2), _rounded(y, 2), _rounded(score, 3)] for x, y, score in points]
    if detections.rotated is not None:
        corners = corners_of(detections.rotated).tolist()
        for one, rotated, points in zip(found, detections.rotated.tolist(), corners, strict=True):
            one["obb"] = {
                **{name: _rounded(value, 2) for name, value in zip(("cx", "cy", "w", "h"), rotated[:4], strict=True)},
                "angle_rad": _rounded(rotated[4], 5),
                "corners": [[_rounded(x, 2), _rounded(y, 2)] for x, y in points],
            }
    if detections.masks is not None:
        for one, mask in zip(found, detections.masks, strict=True):
            one["mask"] = _mask(mask, image_hw)
    if detections.nested is not None:
        for one, answers in zip(found, detections.nested, strict=True):
            then = [_nested(answer, image_hw, map_masks=map_masks, embeddings=embeddings) for answer in answers]
            one["then"] = then[0] if len(then) == 1 else then
    tracks = detections.tracks
    if tracks is not None:
        for one, fields in zip(found, track_fields(tracks), strict=True):
            one.update(fields)
    return {
        "source": source,
        "frame": frame_index,
        **_times(captured, position_ms),
        "detections": found,
        **({} if tracks is None else count_fields(tracks, class_names)),
        **_of_whole_image(detections, class_names, map_masks=map_masks, embeddings=embeddings),
    }


def _times(captured: CaptureTime | None, position_ms: float | None) -> dict[str, Any]:
    """The times that are known."""
    times: dict[str, Any] = {}
    if captured is not None:
        times = {"time": captured.iso, "monotonic_s": round(captured.monotonic_s, 6)}
    if position_ms is not None:
        times["position_s"] = _rounded(position_ms / 1e3, 3)
    return times


def _of_whole_image(
    detections: Detections, class_names: Sequence[str], *, map_masks: bool, embeddings: bool
) -> dict[str, Any]:
    """Results for the image as a whole, of those that the model has."""
    result: dict[str, Any] = {}
    if detections.class_maps:
        result["class_maps"] = [_class_map(one, map_masks=map_masks) for one in detections.class_maps]
    if detections.depth is not None:
        result["depth"] = _depth(detections.depth)
    if detections.text is not None:
        result["text"] = _text(detections.text)
    if detections.embedding is not None and embeddings:
        result["embedding"] = [_rounded(value, 5) for value in detections.embedding.tolist()]
    if detections.match is not None:
        result["match"] = _match(detections.match)
    if detections.ranking is not None:
        result["ranking"] = _ranking(detections.ranking, class_names)
    return result


def _match(found: FoundMatch) -> dict[str, Any]:
    nearest = [{"name": one.name, "cosine": _rounded(one.cosine, 4)} for one in found.nearest]
    return {"name": found.name, "cosine": _rounded(found.cosine, 4), "nearest": nearest}


def _nested(
    answer: NestedResult | None, image_hw: tuple[int, int], *, map_masks: bool, embeddings: bool
) -> dict[str, Any] | None:
    """The result of a further model for one object: the fields of a frame, with the model's name; None without one."""
    if answer is None:
        return None
    result = result_object(
        "", 0, image_hw, answer.detections, answer.class_names, map_masks=map_masks, embeddings=embeddings
    )
    fields = {name: value for name, value in result.items() if name not in ("source", "frame")}
    return {"model": answer.model, **fields}


def _box(detections: Detections, i: int, class_names: Sequence[str]) -> dict[str, Any]:
    class_id = int(detections.class_ids[i])
    return {
        "xyxy": [_rounded(value, 2) for value in detections.xyxy[i].tolist()],
        "confidence": _rounded(float(detections.scores[i]), 5),
        "class_id": class_id,
        "class_name": class_names[class_id],
    }


def _mask(mask: InstanceMask, image_hw: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(image_hw), "counts": rle_counts(mask.pixels, mask.left, mask.top, image_hw)}


def _class_map(found: FoundClassMap, *, map_masks: bool) -> dict[str, Any]:
    height, width = found.class_ids.shape
    pixels = count_class_pixels(found.class_ids, len(found.class_names))
    classes: list[dict[str, Any]] = []
    for class_id in found.shown_ids:
        if not pixels[class_id]:
            continue
        share = round(int(pixels[class_id]) / (height * width), 5)
        one: dict[str, Any] = {"class_id": class_id, "class_name": found.class_names[class_id], "share": share}
        if map_masks:
            one["mask"] = _mask(_pixels_of(found, class_id), (height, width))
        classes.append(one)
    return {"name": found.name, "classes": classes}


def _pixels_of(found: FoundClassMap, class_id: int) -> InstanceMask:
    covered = np.asarray(cv2.inRange(found.class_ids, np.array([class_id]), np.array([class_id])), np.uint8)
    left, top, width, height = cv2.boundingRect(covered)
    return InstanceMask(left, top, covered[top : top + height, left : left + width] > 0)


def _depth(found: FoundDepth) -> dict[str, Any]:
    """Nearest and farthest value, and the median of every fourth row and column."""
    values = found.values[np.isfinite(found.values)] if not np.isfinite(found.values).all() else found.values
    if not values.size:
        return {"kind": found.kind, "min": None, "median": None, "max": None}
    median = float(np.nanmedian(found.values[::_STEP, ::_STEP]))
    figures = {"min": float(values.min()), "median": median, "max": float(values.max())}
    return {"kind": found.kind, **{name: _rounded(value, 4) for name, value in figures.items()}}


def _text(found: FoundText) -> dict[str, Any]:
    parts = zip(found.characters, found.confidences.tolist(), found.columns.tolist(), strict=True)
    return {
        "text": found.text,
        "confidence": _rounded(found.confidence, 5),
        "characters": [
            {"text": text, "confidence": _rounded(confidence, 5), "column": column}
            for text, confidence, column in parts
        ],
    }


def _ranking(ranking: Ranking, class_names: Sequence[str]) -> list[dict[str, Any]]:
    best = zip(ranking.class_ids[:RANKED].tolist(), ranking.scores[:RANKED].tolist(), strict=True)
    return [{"class_id": i, "class_name": class_names[i], "confidence": _rounded(score, 5)} for i, score in best]


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
