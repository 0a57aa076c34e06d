"""Parts of a frame as images, and back."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from rkdeploy.device.chain.face_alignment import TEMPLATE, face_region
from rkdeploy.device.chain.region import MAX_SIDE_PX, Region, clockwise, in_reading_order, widened
from rkdeploy.device.postprocess.corners import corners_of

SQUARE = np.array(((0, 0), (10, 0), (10, 10), (0, 10)), np.float32)


def lettered() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture 120 x 40 with text: no symmetry."""
    image = np.full((40, 120, 3), 255, np.uint8)
    cv2.putText(image, "F7L", (8, 32), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 3)
    return image


def test_an_upright_part_is_a_view() -> None:
    """No pixel is copied, and points move by whole pixels."""
    frame = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    region = Region.upright(4, 3, 8, 5)
    crop = region.cut(frame)
    assert np.shares_memory(crop, frame)
    assert (crop == frame[3:8, 4:12]).all()
    assert region.to_frame(np.array(((0.5, 1.5),))).tolist() == [[4.5, 4.5]]


@pytest.mark.parametrize("degrees", [-30, 0, 20, 80, 100, 180 - 20])
def test_a_line_of_text_lies_whatever_its_angle(degrees: int) -> None:
    """A line that rises, falls or reads downward is cut out as it was; a box of 160 degrees is one of -20."""
    text = lettered()
    turned = cv2.getRotationMatrix2D((59.5, 19.5), -degrees if degrees <= 100 else 180 - degrees, 1.0)
    turned = np.asarray(turned + np.array(((0, 0, 90), (0, 0, 130))), np.float64)
    frame = cv2.warpAffine(text, turned, (300, 300), borderValue=(255, 255, 255), flags=cv2.INTER_CUBIC)
    box = np.array([(150, 150, 120, 40, math.radians(degrees))], np.float32)
    region = Region.of_corners(in_reading_order(corners_of(box)[0]))
    assert region is not None
    found = region.cut(np.asarray(frame, np.uint8))
    assert found.shape == (40, 120, 3)
    assert np.abs(found.astype(int) - text)[2:-2, 2:-2].mean() < 12


def test_a_warped_plate_is_straightened_and_points_go_back() -> None:
    """Four corners in perspective give the plate; its corners are mapped back to where they were."""
    text, corners = lettered(), np.array(((30, 40), (170, 60), (160, 120), (40, 90)), np.float32)
    flat = np.array(((0, 0), (120, 0), (120, 40), (0, 40)), np.float32)
    frame = cv2.warpPerspective(text, cv2.getPerspectiveTransform(flat, corners), (220, 160))
    region = Region.of_corners(corners)
    assert region is not None
    assert (region.width, region.height) == (round(math.hypot(140, 20)), round(math.hypot(10, 60)))
    straight = cv2.resize(region.cut(np.asarray(frame, np.uint8)), (120, 40))
    assert np.abs(straight.astype(int) - text)[3:-3, 3:-3].mean() < 20
    ends = np.array(((0, 0), (region.width, 0), (region.width, region.height), (0, region.height)))
    assert np.allclose(region.to_frame(ends), corners, atol=1e-3)


def test_corners_that_span_nothing_give_no_region() -> None:
    """Points on one line, on one point, or not finite."""
    line = np.array(((0, 0), (5, 5), (10, 10), (15, 15)), np.float32)
    assert Region.of_corners(line) is None
    assert Region.of_corners(np.zeros((4, 2), np.float32)) is None
    assert Region.of_corners(np.full((4, 2), np.nan, np.float32)) is None


def test_a_huge_region_is_cut_small() -> None:
    """The longest side of a crop is bounded; points still go back to the frame."""
    region = Region.of_corners(SQUARE * 1000)
    assert region is not None
    assert (region.width, region.height) == (MAX_SIDE_PX, MAX_SIDE_PX)
    assert np.allclose(region.to_frame(np.array(((MAX_SIDE_PX, 0),))), ((10_000, 0),), atol=0.1)


def test_corners_in_the_other_direction_do_not_mirror() -> None:
    """The first corner stays; those of a clockwise polygon stay all."""
    assert clockwise(SQUARE[[0, 3, 2, 1]]).tolist() == SQUARE.tolist()
    assert clockwise(SQUARE).tolist() == SQUARE.tolist()


def test_a_margin_grows_each_side() -> None:
    """A fifth of 10 pixels on each side."""
    assert widened(SQUARE, 0.2).tolist() == [[-2, -2], [12, -2], [12, 12], [-2, 12]]


def test_a_face_lands_on_the_template() -> None:
    """Landmarks that are the template, turned, scaled and moved, give exactly it; the crop has the network's size."""
    turn = np.array(((math.cos(0.4), -math.sin(0.4)), (math.sin(0.4), math.cos(0.4)))) * 1.7
    landmarks = np.asarray(TEMPLATE @ turn.T + np.array((40.0, 25.0)), np.float64)
    region = face_region(landmarks, 112, 112)
    assert region is not None
    assert (region.width, region.height) == (112, 112)
    assert np.allclose(region.to_frame(TEMPLATE), landmarks, atol=1e-3)


def test_the_template_of_other_sizes_is_insightfaces() -> None:
    """224 is twice 112; 128 has the template 8 pixels from the left (`estimate_norm`)."""
    for side, scale, shift in ((224, 2.0, 0.0), (128, 1.0, 8.0), (256, 2.0, 16.0)):
        region = face_region(TEMPLATE, side, side)
        assert region is not None
        expected = TEMPLATE * scale + (shift, 0)
        assert np.allclose(region.to_frame(expected), TEMPLATE, atol=1e-3)


def test_landmarks_on_one_point_give_no_face() -> None:
    """Nothing to turn or scale by."""
    assert face_region(np.full((5, 2), 7.0, np.float32), 112, 112) is None
    assert face_region(np.full((5, 2), np.inf), 112, 112) is None
