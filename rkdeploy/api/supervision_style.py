"""Results in the classes of the package supervision."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    import supervision as sv

    from rkdeploy.api.model_answer import ResultParts
    from rkdeploy.api.result_parts import Keypoints


def supervision_detections(parts: ResultParts) -> sv.Detections:
    """The objects of a result.

    Returns:
        Detections with xyxy (N, 4) float32, confidence (N,), class_id (N,) int, mask (N, H, W) bool where the model has
        masks, tracker_id (N,) int with tracking, -1 for objects without a track, and in `data` the `class_name` (N,)
        and for oriented boxes `xyxyxyxy` (N, 4, 2).

    Raises:
        RkdeployError: when supervision is not installed.
    """
    package = _supervision()
    boxes, masks, obb = parts.boxes, parts.masks, parts.obb
    data: dict[str, Any] = {package.config.CLASS_NAME_DATA_FIELD: np.array(boxes.class_name, dtype=np.str_)}
    if obb is not None:
        data[package.config.ORIENTED_BOX_COORDINATES] = obb.corners
    detections: sv.Detections = package.Detections(
        xyxy=boxes.xyxy.copy(),
        confidence=boxes.confidence.copy(),
        class_id=boxes.class_id.astype(int),
        mask=None if masks is None else masks.stacked(),
        tracker_id=None if boxes.track_id is None else np.where(boxes.track_id > 0, boxes.track_id, -1).astype(int),
        data=data,
    )
    return detections


def supervision_keypoints(parts: ResultParts) -> sv.KeyPoints:
    """The keypoints of a result.

    Returns:
        Keypoints with xy (N, K, 2) float32, their confidence (N, K), and class_id (N,) int.

    Raises:
        RkdeployError: when supervision is not installed, or the model has no keypoints.
    """
    package = _supervision()
    points = parts.keypoints
    if points is None:
        raise RkdeployError("The model has no keypoints.", "Use to_supervision() for its boxes.")
    boxes = parts.boxes
    names = {package.config.CLASS_NAME_DATA_FIELD: np.array(boxes.class_name, dtype=np.str_)}
    keypoints: sv.KeyPoints = package.KeyPoints(
        xy=points.xy.copy(), class_id=boxes.class_id.astype(int), data=names, **_confidences(package, points)
    )
    return keypoints


def _confidences(package: Any, points: Keypoints) -> dict[str, Any]:
    """The confidences under the names that the installed version has for them."""
    known = getattr(package.KeyPoints, "__dataclass_fields__", {})
    name = "keypoint_confidence" if "keypoint_confidence" in known else "confidence"
    return {name: points.confidence.copy()}


def _supervision() -> Any:
    try:
        importlib.import_module("supervision.config")
        return importlib.import_module("supervision")
    except ImportError as error:
        raise RkdeployError(
            f"supervision cannot be imported: {error}.", "Install it: pip install supervision"
        ) from error
