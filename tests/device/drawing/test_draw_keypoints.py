"""Keypoints."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.drawing import Limb, Skeleton, draw_detections
from rkdeploy.device.drawing.colors import ramp_color
from rkdeploy.device.drawing.keypoints import draw_keypoints, strokes_of
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.drawing.skeletons import skeleton_for
from rkdeploy.device.postprocess.detections import Detections

STANDING = np.array(
    [(50, 10), (55, 7), (45, 7), (60, 9), (40, 9), (70, 22), (30, 22), (85, 38), (15, 38), (95, 52), (5, 52), (62, 52),
     (38, 52), (64, 74), (36, 74), (66, 96), (34, 96)], np.float32
)  # fmt: skip
"""COCO's keypoints of a standing person that faces the camera, in percent of the box."""


def drawn_points(
    points: NDArray[np.float32], skeleton: Skeleton, width: int = 640, height: int = 480
) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 128, np.uint8)
    draw_keypoints(image, points, strokes_of(skeleton), pen_for(width, height))
    return image


def person(left: float, top: float, width: float, height: float) -> NDArray[np.float32]:
    xy = STANDING / 100 * (width, height) + (left, top)
    return np.hstack((xy, np.ones((17, 1)))).astype(np.float32)


def at(image: NDArray[np.uint8], xy: NDArray[np.float32]) -> tuple[int, ...]:
    column, row = np.rint(xy).astype(int).tolist()
    return tuple(image[row, column].tolist())


def test_a_person_has_limbs_in_the_colors_of_their_sides() -> None:
    """In the middle of each limb is its color; left and right arms and legs differ."""
    points, skeleton = person(200, 40, 200, 400), skeleton_for(17)
    image = drawn_points(points, skeleton)
    for limb in skeleton.limbs[:4] + skeleton.limbs[8:]:
        assert at(image, (points[limb.start, :2] + points[limb.end, :2]) / 2) == limb.color
    color = {(limb.start, limb.end): limb.color for limb in skeleton.limbs}
    assert color[5, 7] != color[6, 8]
    assert color[11, 13] != color[12, 14]


def test_what_the_model_cannot_see_is_not_drawn() -> None:
    """Points of low visibility, limbs that end in one, and coordinates that are not finite are not drawn."""
    points = person(200, 40, 200, 400)
    points[9, 2] = 0.49
    points[10, 0] = np.nan
    image = drawn_points(points, skeleton_for(17))
    assert at(image, points[9, :2]) == (128, 128, 128)
    assert at(image, (points[7, :2] + points[9, :2]) / 2) == (128, 128, 128)
    assert at(image, (points[5, :2] + points[7, :2]) / 2) != (128, 128, 128)
    points[:, 2] = 0.1
    assert (drawn_points(points, skeleton_for(17)) == 128).all()


@pytest.mark.parametrize("count", [2, 5, 17, 21, 68])
def test_known_skeletons_are_whole(count: int) -> None:
    """One color per point; every limb has two points that exist; no point of those with limbs is left alone."""
    skeleton = skeleton_for(count)
    ends = [end for limb in skeleton.limbs for end in (limb.start, limb.end)]
    assert len(skeleton.point_colors) == count
    assert set(ends) <= set(range(count))
    assert not ends or set(ends) >= set(range(count)) - ({0} if count == 5 else set())
    assert all(limb.start != limb.end for limb in skeleton.limbs)


@pytest.mark.parametrize("count", [1, 3, 4, 9, 133])
def test_other_points_have_the_order_of_a_ramp(count: int) -> None:
    """Each point is drawn in the color of its place."""
    xy = np.array([(40 + 40 * (i % 14), 40 + 40 * (i // 14)) for i in range(count)], np.float32)
    points = np.hstack((xy, np.ones((count, 1), np.float32)))
    image = drawn_points(points, skeleton_for(count))
    assert [at(image, one) for one in xy] == [ramp_color(i, count) for i in range(count)]


def test_two_points_are_an_arrow_to_the_second() -> None:
    """A line with a head at its end and a dot at its beginning."""
    points = np.array([[100, 240, 1], [500, 240, 1]], np.float32)
    image = drawn_points(points, skeleton_for(2))
    reach = (image != 128).any(axis=2).sum(axis=0)  # height of the mark in each column
    assert reach[300] > 0
    assert reach[495] > 1.5 * reach[300]
    assert reach[110] == reach[300]
    assert (drawn_points(points[[1, 0]], skeleton_for(2)) != image).any()
    still = np.array([[100, 240, 1], [100, 240, 1]], np.float32)
    assert (drawn_points(still, skeleton_for(2)) != 128).any()


def test_small_objects_have_thin_lines() -> None:
    """A person of 64 pixels is not a blot: between the arms, the torso's sides and the legs the image shows."""
    points = person(100, 100, 32, 64)
    image = drawn_points(points, skeleton_for(17))
    for share in ((0.5, 0.35), (0.5, 0.8)):
        assert at(image, np.array((100 + 32 * share[0], 100 + 64 * share[1]), np.float32)) == (128, 128, 128)
    small = (image != 128).any(axis=2).sum()
    large = (drawn_points(person(100, 20, 200, 400), skeleton_for(17)) != 128).any(axis=2).sum()
    assert small < large / 4


def grid(count: int, left: float, top: float, side: float) -> NDArray[np.float32]:
    xy = [(left + side * (i % 3) / 2, top + side * (i // 3) / 2) for i in range(count)]
    return np.hstack((np.array(xy, np.float32), np.ones((count, 1), np.float32)))


def test_numbers_tell_unknown_points_apart() -> None:
    """A large object has them, a small one has not, and points with names have not."""
    image = np.full((480, 640, 3), 128, np.uint8)
    names, plain = ("thing",), skeleton_for(9)
    silent = Skeleton(plain.limbs, plain.point_colors)

    def changed(side: float) -> int:
        box = np.array([[100, 100, 100 + side, 100 + side]], np.float32)
        found = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), keypoints=grid(9, 100, 100, side)[None])
        return int((draw_detections(image, found, names) != draw_detections(image, found, names, silent)).sum())

    assert changed(200) > 500
    assert changed(20) == 0


def test_numbers_never_hide_a_label() -> None:
    """A point below a label gets no number."""
    image = np.full((480, 640, 3), 128, np.uint8)
    found = Detections(np.array([[100, 100, 300, 300]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    points = np.array([[[110, 97, 1], [290, 290, 1], [200, 200, 1]]], np.float32)
    numbered = Detections(found.xyxy, found.scores, found.class_ids, keypoints=points)
    label = np.s_[70:96, 100:170]
    assert np.array_equal(
        draw_detections(image, numbered, ("thing",))[label][:18], draw_detections(image, found, ("thing",))[label][:18]
    )


def test_a_skeleton_of_one_s_own() -> None:
    """A limb and colors that were given are drawn."""
    points = np.array([[100, 100, 1], [300, 100, 1], [300, 300, 1]], np.float32)
    red = (10, 20, 250)
    image = drawn_points(points, Skeleton((Limb(0, 2, red),), ((1, 2, 3), (4, 5, 6), (7, 8, 9))))
    assert at(image, np.array((200, 200), np.float32)) == red
    assert at(image, points[1, :2]) == (4, 5, 6)
