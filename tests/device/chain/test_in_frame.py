"""Detections of a crop in pixels of the frame."""

from __future__ import annotations

import math

import numpy as np

from rkdeploy.device.chain.in_frame import in_frame
from rkdeploy.device.chain.region import Region
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections, InstanceMask

SCORES, IDS = np.array([0.9], np.float32), np.array([0], np.int32)


def found(**parts: object) -> Detections:
    """One object, x 2 to 6, y 1 to 3."""
    return Detections(np.array([(2, 1, 6, 3)], np.float32), SCORES, IDS, **parts)  # type: ignore[arg-type]


def test_results_of_an_upright_crop_are_moved() -> None:
    """Boxes, keypoints, rotated boxes and masks move with it; nothing is resampled."""
    points = np.array([[(3, 2, 0.5)]], np.float32)
    rotated = np.array([(4, 2, 4, 2, 0)], np.float32)
    mask = InstanceMask(2, 1, np.ones((2, 4), np.bool_))
    placed = in_frame(found(keypoints=points, rotated=rotated, masks=(mask,)), Region.upright(10, 20, 8, 8), (50, 60))
    assert placed.xyxy.tolist() == [[12, 21, 16, 23]]
    assert placed.keypoints is not None
    assert placed.keypoints.tolist() == [[[13, 22, 0.5]]]
    assert placed.rotated is not None
    assert np.allclose(placed.rotated, [(14, 22, 4, 2, 0)])
    assert placed.masks is not None
    assert (placed.masks[0].left, placed.masks[0].top, int(placed.masks[0].pixels.sum())) == (12, 21, 8)


def test_results_of_a_turned_crop_are_turned_back() -> None:
    """A crop that was turned by a right angle: the box's width is the frame's height; the mask follows."""
    corners = np.array(((30, 10), (30, 18), (22, 18), (22, 10)), np.float32)  # top left of the crop is top right here
    region = Region.of_corners(corners)
    assert region is not None
    mask = InstanceMask(2, 1, np.ones((2, 4), np.bool_))
    rotated = np.array([(4, 2, 4, 2, 0)], np.float32)
    placed = in_frame(found(masks=(mask,), rotated=rotated), region, (50, 60))
    assert np.allclose(placed.xyxy, [(27, 12, 29, 16)], atol=1e-3)
    assert placed.rotated is not None
    assert np.allclose(placed.rotated, [(28, 14, 4, 2, math.pi / 2)], atol=1e-3)
    ends = sorted(corners_of(placed.rotated)[0].round().tolist())
    assert ends == [[27, 12], [27, 16], [29, 12], [29, 16]]
    assert placed.masks is not None
    back = placed.masks[0]
    assert back.pixels.sum() == 8
    assert (back.left + back.pixels.shape[1], back.top + back.pixels.shape[0]) <= (30, 17)


def test_boxes_stay_inside_the_frame() -> None:
    """Parts beyond the edge of the frame are clipped; without objects nothing is done."""
    placed = in_frame(found(), Region.upright(55, 0, 5, 5), (2, 60))
    assert placed.xyxy.tolist() == [[57, 1, 60, 2]]
    empty = Detections.empty()
    assert in_frame(empty, Region.upright(0, 0, 5, 5), (9, 9)) is empty
