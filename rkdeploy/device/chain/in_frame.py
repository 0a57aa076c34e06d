"""Detections of a crop in pixels of its frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.chain.region import Region, of_pixel_centers
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections, InstanceMask


def in_frame(found: Detections, region: Region, frame_hw: tuple[int, int]) -> Detections:
    """The same detections in pixels of the frame that the crop was cut from.

    Boxes become the upright boxes around their four corners, clipped to the frame.  Class maps and depth stay those of
    the crop.

    Args:
        found: in pixels of the crop.
        region: of the crop.
        frame_hw: height and width of the frame.
    """
    if not len(found):
        return found
    keypoints, rotated = found.keypoints, found.rotated
    if keypoints is not None:
        keypoints = keypoints.copy()
        keypoints[:, :, :2] = _clipped(region.to_frame(keypoints[:, :, :2]), frame_hw)
    corners = found.xyxy[:, ((0, 1), (2, 1), (2, 3), (0, 3))] if rotated is None else corners_of(rotated)
    placed = region.to_frame(corners)
    return replace(
        found,
        xyxy=_clipped(np.concatenate((placed.min(axis=1), placed.max(axis=1)), axis=1).reshape(-1, 2, 2), frame_hw)
        .reshape(-1, 4),
        keypoints=keypoints,
        rotated=None if rotated is None else _rotated_boxes(placed),
        masks=None if found.masks is None else tuple(_mask(one, region, frame_hw) for one in found.masks),
    )  # fmt: skip


def _clipped(xy: NDArray[np.float32], frame_hw: tuple[int, int]) -> NDArray[np.float32]:
    height, width = frame_hw
    return np.asarray(np.minimum(np.maximum(xy, 0), np.array((width, height), np.float32)), np.float32)


def _rotated_boxes(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes (N, 5) center x, y, width, height, angle of corners (N, 4, 2) in order: means of opposite sides."""
    along = (corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]) / 2
    across = (corners[:, 3] - corners[:, 0] + corners[:, 2] - corners[:, 1]) / 2
    sizes = np.stack((np.hypot(*along.T), np.hypot(*across.T)), axis=1)
    angles = np.arctan2(along[:, 1], along[:, 0])
    return np.asarray(np.concatenate((corners.mean(axis=1), sizes, angles[:, None]), axis=1), np.float32)


def _mask(mask: InstanceMask, region: Region, frame_hw: tuple[int, int]) -> InstanceMask:
    """A mask in pixels of the frame: moved, or resampled where the crop was warped."""
    if region.is_upright:
        left, top = round(-region.matrix[0, 2]), round(-region.matrix[1, 2])
        return InstanceMask(mask.left + left, mask.top + top, mask.pixels)
    height, width = mask.pixels.shape
    right, bottom = mask.left + width, mask.top + height
    corners = np.array(((mask.left, mask.top), (right, mask.top), (right, bottom), (mask.left, bottom)), np.float32)
    placed = _clipped(region.to_frame(corners), frame_hw)
    left, top = (int(value) for value in np.floor(placed.min(axis=0)))
    right, bottom = (int(value) for value in np.ceil(placed.max(axis=0)))
    return InstanceMask(left, top, _warped_back(mask, region, (left, top, right - left, bottom - top)))


def _warped_back(mask: InstanceMask, region: Region, place: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Pixels of a mask in an upright part (left, top, width, height) of the frame."""
    left, top, width, height = place
    if width < 1 or height < 1:
        return np.zeros((max(0, height), max(0, width)), np.bool_)
    to_mask: NDArray[Any] = np.array(((1, 0, -mask.left), (0, 1, -mask.top), (0, 0, 1)), np.float64)
    to_frame: NDArray[Any] = np.array(((1, 0, left), (0, 1, top), (0, 0, 1)), np.float64)
    matrix = of_pixel_centers(to_mask @ region.matrix @ to_frame)
    pixels = mask.pixels.astype(np.uint8)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(pixels, matrix, (width, height), flags=flags) > 0, np.bool_)
