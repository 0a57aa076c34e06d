"""Labeled objects and predictions of one image, from plain lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.datasets.truth import Polygons, Truth

HW = (100, 200)


def truth(
    boxes: Sequence[Sequence[float]],
    class_ids: Sequence[int] | None = None,
    *,
    crowd: Sequence[bool] | None = None,
    keypoints: Sequence[object] | None = None,
    rotated: Sequence[Sequence[float]] | None = None,
    outlines: Sequence[Polygons] | None = None,
) -> Truth:
    """Objects; of class 0 and no crowds unless it is said."""
    xyxy = np.array(boxes, np.float64).reshape(-1, 4)
    areas: NDArray[np.float64] = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    return Truth(
        xyxy,
        np.array(class_ids or [0] * len(xyxy), np.int64),
        areas,
        np.array(crowd or [False] * len(xyxy), np.bool_),
        None if keypoints is None else np.array(keypoints, np.float64).reshape(len(xyxy), -1, 3),
        None if rotated is None else np.array(rotated, np.float32).reshape(-1, 5),
        None if outlines is None else tuple(outlines),
    )


def prediction(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    class_ids: Sequence[int] | None = None,
    *,
    name: str = "a.jpg",
    keypoints: Sequence[object] | None = None,
    rotated: Sequence[Sequence[float]] | None = None,
    masks: Sequence[str] | None = None,
) -> ImagePrediction:
    """Predictions on an image of 200x100."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return ImagePrediction(
        name,
        HW,
        xyxy,
        np.array(scores, np.float32),
        np.array(class_ids or [0] * len(xyxy), np.int32),
        None if keypoints is None else np.array(keypoints, np.float32).reshape(len(xyxy), -1, 3),
        None if rotated is None else np.array(rotated, np.float32).reshape(-1, 5),
        None if masks is None else tuple(masks),
    )
