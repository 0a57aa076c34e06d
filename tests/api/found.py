"""Results with two objects of known numbers."""

from __future__ import annotations

import numpy as np

from rkdeploy.api.result import Result
from rkdeploy.device.postprocess.detections import Detections, InstanceMask

NAMES = ("nut", "bolt", "nut")  # one name on two ids
FRAME = np.full((40, 60, 3), 128, np.uint8)  # height 40, width 60
XYXY = np.array([[10, 5, 30, 25], [0, 0, 8, 4]], np.float32)
FOUND = Detections(XYXY, np.array([0.9, 0.5], np.float32), np.array([1, 2], np.int32))
POINTS = np.array([[[12, 6, 0.9], [28, 20, 0.2]], [[1, 1, 0.7], [2, 3, 0.6]]], np.float32)
PIXELS = np.zeros((4, 8), np.bool_)
PIXELS[1:3, 2:6] = True
MASKS = (InstanceMask(10, 5, np.ones((20, 20), np.bool_)), InstanceMask(0, 0, PIXELS))
STACKED = np.zeros((2, 40, 60), np.bool_)
STACKED[0, 5:25, 10:30] = True
STACKED[1, 1:3, 2:6] = True
ROTATED = np.array([[20, 15, 20, 10, 0], [20, 15, 20, 10, np.pi / 2]], np.float32)


def result(**parts: object) -> Result:
    """A result of two objects, with those parts."""
    detections = Detections(FOUND.xyxy, FOUND.scores, FOUND.class_ids, **parts)  # type: ignore[arg-type]
    return Result(FRAME, NAMES, detections, "a.jpg", 3, 1.5)


EMPTY = Result(FRAME, NAMES, Detections.empty())
