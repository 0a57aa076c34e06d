"""Detections for the tests of drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth, InstanceMask, Ranking

SAMPLE = Path(__file__).parents[3] / "calib_data"
NAMES = ("bolt", "nut", "washer")
SIZES = [(320, 240), (640, 480), (1920, 1080), (3840, 2160), (240, 1200)]
TASKS = ("detect", "segment", "pose", "points", "obb", "classify", "drive", "scene", "depth")


def photograph(width: int, height: int) -> NDArray[np.uint8]:
    """A real image of any size."""
    image = cv2.imread(str(SAMPLE / "images" / "val" / "val_0000.jpg"))
    return np.asarray(cv2.resize(np.asarray(image), (width, height)), np.uint8)


def labeled(width: int, height: int) -> Detections:
    """The boxes of that image, with scores."""
    rows = np.loadtxt(SAMPLE / "labels" / "val" / "val_0000.txt", ndmin=2)
    center, half = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height) / 2
    xyxy = np.hstack((center - half, center + half)).astype(np.float32)
    return Detections(xyxy, np.linspace(0.97, 0.3, len(rows)).astype(np.float32), rows[:, 0].astype(np.int32))


def boxes(*xyxy: Sequence[float]) -> Detections:
    """Boxes of class 0, 1, ..., the first the most certain."""
    count = len(xyxy)
    return Detections(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.3, count).astype(np.float32),
        np.arange(count, dtype=np.int32),
    )


def ellipse(box: NDArray[np.float32]) -> InstanceMask:
    """The ellipse that fits into a box."""
    left, top = int(box[0]), int(box[1])
    right, bottom = max(int(box[2]), left + 1), max(int(box[3]), top + 1)
    row, column = np.mgrid[: bottom - top, : right - left]
    height, width = bottom - top, right - left
    away = ((column + 0.5) / width * 2 - 1) ** 2 + ((row + 0.5) / height * 2 - 1) ** 2
    return InstanceMask(left, top, np.asarray(away <= 1))


def result_of(task: str, width: int, height: int) -> Detections:
    """A result of a task for that image."""
    found = labeled(width, height)
    plain = found.xyxy, found.scores, found.class_ids
    nothing = Detections.empty()
    none = nothing.xyxy, nothing.scores, nothing.class_ids
    row, column = np.mgrid[:height, :width]
    if task == "segment":
        return Detections(*plain, masks=tuple(ellipse(box) for box in found.xyxy))
    if task in ("pose", "points"):
        count = 17 if task == "pose" else 6
        share = np.random.default_rng(0).uniform(0, 1, (len(found), count, 2))
        xy = found.xyxy[:, None, :2] + share * (found.xyxy[:, None, 2:] - found.xyxy[:, None, :2])
        scores = np.random.default_rng(1).uniform(0.3, 1, (len(found), count, 1))
        return Detections(*plain, keypoints=np.concatenate((xy, scores), axis=2).astype(np.float32))
    if task == "obb":
        size = found.xyxy[:, 2:] - found.xyxy[:, :2]
        angle = np.linspace(0, 1.5, len(found))[:, None]
        rotated = np.hstack((found.xyxy[:, :2] + size / 2, size, angle)).astype(np.float32)
        corners = corners_of(rotated)
        around = np.hstack((corners.min(axis=1), corners.max(axis=1)))
        xyxy = np.clip(around, 0, (width, height, width, height)).astype(np.float32)
        return Detections(xyxy, found.scores, found.class_ids, rotated=rotated)
    if task == "classify":
        return Detections(
            *none, ranking=Ranking(np.array([2, 0, 1], np.int32), np.array([0.8, 0.15, 0.05], np.float32))
        )
    if task == "drive":
        road = FoundClassMap("drivable_area", ("background", "drivable"), (row > height // 2).astype(np.uint8))
        lanes = (np.abs(column - width // 2) < max(2, width // 100)) & (row > height // 2)
        return Detections(
            *plain, class_maps=(road, FoundClassMap("lane", ("background", "lane line"), lanes.view(np.uint8)))
        )
    if task == "depth":
        return Detections(*none, depth=FoundDepth((1 + row / height * 9).astype(np.float32), "metric"))
    if task == "scene":
        names = ("background", "sky", "road", "grass")
        return Detections(*none, class_maps=(FoundClassMap("scene", names, (column * 4 // width).astype(np.uint8)),))
    return found
