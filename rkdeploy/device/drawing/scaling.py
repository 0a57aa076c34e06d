"""Detections rescaled with their image."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth, InstanceMask


def scale_detections(detections: Detections, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Detections:
    """Detections in the pixels of the same image at another size.

    The angle of a rotated box stays and its sides are scaled by the mean of both axes: use it only where both axes are
    scaled by about the same factor.

    Args:
        detections: in pixels of an image of `from_hw`.
        from_hw: height and width of the original.
        to_hw: height and width of the scaled image, at least 1 x 1.
    """
    scale_x, scale_y = to_hw[1] / from_hw[1], to_hw[0] / from_hw[0]
    mean = (scale_x * scale_y) ** 0.5
    keypoints, rotated, masks = detections.keypoints, detections.rotated, detections.masks
    return replace(
        detections,
        xyxy=_times(detections.xyxy, (scale_x, scale_y, scale_x, scale_y)),
        keypoints=None if keypoints is None else _times(keypoints, (scale_x, scale_y, 1.0)),
        rotated=None if rotated is None else _times(rotated, (scale_x, scale_y, mean, mean, 1.0)),
        masks=None if masks is None else tuple(_scaled_mask(mask, scale_x, scale_y, to_hw) for mask in masks),
        class_maps=tuple(_scaled_map(found, to_hw) for found in detections.class_maps),
        depth=None if detections.depth is None else _scaled_depth(detections.depth, to_hw),
        tracks=None if detections.tracks is None else detections.tracks.scaled(scale_x, scale_y),
    )


def _times(values: NDArray[np.float32], factors: tuple[float, ...]) -> NDArray[np.float32]:
    return (values * np.asarray(factors, np.float32)).astype(np.float32, copy=False)


def _scaled_mask(mask: InstanceMask, scale_x: float, scale_y: float, to_hw: tuple[int, int]) -> InstanceMask:
    height, width = mask.pixels.shape
    left, top = min(round(mask.left * scale_x), to_hw[1]), min(round(mask.top * scale_y), to_hw[0])
    right = min(max(round((mask.left + width) * scale_x), left + 1), to_hw[1])
    bottom = min(max(round((mask.top + height) * scale_y), top + 1), to_hw[0])
    if mask.pixels.size == 0 or right <= left or bottom <= top:
        return InstanceMask(left, top, np.zeros((0, 0), np.bool_))
    pixels = np.ascontiguousarray(mask.pixels).view(np.uint8)
    scaled = cv2.resize(pixels, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    return InstanceMask(left, top, np.asarray(scaled, np.uint8).view(np.bool_))


def _scaled_map(found: FoundClassMap, to_hw: tuple[int, int]) -> FoundClassMap:
    class_ids = cv2.resize(found.class_ids, (to_hw[1], to_hw[0]), interpolation=cv2.INTER_NEAREST)
    return replace(found, class_ids=np.asarray(class_ids, np.uint8))


def _scaled_depth(found: FoundDepth, to_hw: tuple[int, int]) -> FoundDepth:
    values = cv2.resize(found.values, (to_hw[1], to_hw[0]), interpolation=cv2.INTER_NEAREST)
    return replace(found, values=np.asarray(values, np.float32))
