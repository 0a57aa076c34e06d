"""Comparison of two models' detections in the same image: boxes, keypoints, masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.boxes import pairwise_iou
from rkdeploy.device.postprocess.detections import Detections, InstanceMask

_COCO_PERSON = 17
# pycocotools, cocoeval.py: per-keypoint constants of the 17 keypoints of a person.
_COCO_SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
_AREA_OF_BOX = 0.53
"""Fraction of a box that its object covers, as in ultralytics' validator if there is no mask."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Matches of a model's detections with the reference's, for one image or many.

    Attributes:
        reference, compared: numbers of detections.
        ious, score_differences: of the matched pairs.
        pairs: (index in the reference, index in the compared) of each.
    """

    reference: int
    compared: int
    ious: tuple[float, ...]
    score_differences: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...] = ()


def match_detections(reference: Detections, compared: Detections, iou: float, score_difference: float) -> Matches:
    """Match detections one to one, best IoU first: same class, IoU of at least `iou`, scores closer than the limit.

    Rotated boxes are compared by their rotated overlap.
    """
    overlaps = pairwise_iou(reference.xyxy, compared.xyxy)
    if reference.rotated is not None and compared.rotated is not None:
        overlaps = _rotated_iou(reference.rotated, compared.rotated, overlaps)
    differences = np.abs(reference.scores[:, None] - compared.scores[None, :])
    fits = (
        (overlaps >= iou)
        & (differences < score_difference)
        & (reference.class_ids[:, None] == compared.class_ids[None, :])
    )
    pairs = np.argwhere(fits)
    order = np.argsort(-overlaps[fits], kind="stable")
    used: tuple[set[int], set[int]] = (set(), set())
    taken: list[tuple[int, int]] = []
    for a, b in pairs[order].tolist():
        if a not in used[0] and b not in used[1]:
            used[0].add(a)
            used[1].add(b)
            taken.append((a, b))
    return Matches(
        len(reference),
        len(compared),
        tuple(float(overlaps[pair]) for pair in taken),
        tuple(float(differences[pair]) for pair in taken),
        tuple(taken),
    )


def keypoint_shifts(
    reference: Detections, compared: Detections, pairs: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shift of the keypoints of matched objects.

    Returns:
        (P,) distances in source pixels of the keypoints that are visible in the reference (above 0.5), and (M,) the
        object keypoint similarity of each pair, 0..1.  Formula of the latter: pycocotools, cocoeval.py; constants are
        COCO's for 17 keypoints and 1 / count for others, as in ultralytics.
    """
    assert reference.keypoints is not None
    assert compared.keypoints is not None
    shifts: list[NDArray[np.float32]] = []
    similarities: list[float] = []
    for a, b in pairs:
        first, second = reference.keypoints[a], compared.keypoints[b]
        seen = first[:, 2] > 0.5
        if not seen.any():
            continue
        distance = np.hypot(*(first[:, :2] - second[:, :2]).T)
        x1, y1, x2, y2 = reference.xyxy[a].astype(np.float64)
        area = max((x2 - x1) * (y2 - y1) * _AREA_OF_BOX, 1.0)
        count = len(first)
        sigmas = _COCO_SIGMAS if count == _COCO_PERSON else np.full(count, 1 / count)
        likeness = np.exp(-(distance.astype(np.float64) ** 2) / ((2 * sigmas) ** 2 * area * 2))
        shifts.append(distance[seen])
        similarities.append(float(likeness[seen].mean()))
    return (np.concatenate(shifts) if shifts else np.zeros(0, np.float32)), np.array(similarities)


def mask_ious(reference: Detections, compared: Detections, pairs: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    """Intersection over union of the masks of matched objects, (M,)."""
    assert reference.masks is not None
    assert compared.masks is not None
    return np.array([_mask_iou(reference.masks[a], compared.masks[b]) for a, b in pairs])


def _mask_iou(a: InstanceMask, b: InstanceMask) -> float:
    left, top = min(a.left, b.left), min(a.top, b.top)
    right = max(a.left + a.pixels.shape[1], b.left + b.pixels.shape[1])
    bottom = max(a.top + a.pixels.shape[0], b.top + b.pixels.shape[0])
    planes = []
    for mask in (a, b):
        plane = np.zeros((bottom - top, right - left), np.bool_)
        height, width = mask.pixels.shape
        plane[mask.top - top : mask.top - top + height, mask.left - left : mask.left - left + width] = mask.pixels
        planes.append(plane)
    union = int((planes[0] | planes[1]).sum())
    return int((planes[0] & planes[1]).sum()) / union if union else 1.0


def _rotated_iou(a: NDArray[np.float32], b: NDArray[np.float32], upright: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) intersection over union of rotated boxes; only pairs whose upright boxes overlap are computed."""
    ious = np.zeros_like(upright)
    for i, j in np.argwhere(upright > 0).tolist():
        boxes = [((r[0], r[1]), (r[2], r[3]), float(np.degrees(r[4]))) for r in (a[i].tolist(), b[j].tolist())]
        kind, corners = cv2.rotatedRectangleIntersection(boxes[0], boxes[1])
        shared = cv2.contourArea(cv2.convexHull(corners)) if kind != cv2.INTERSECT_NONE else 0.0
        union = float(a[i, 2] * a[i, 3] + b[j, 2] * b[j, 3]) - shared
        ious[i, j] = shared / union if union > 0 else 0.0
    return ious
