"""Detections in a scaled image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.device.drawing import scale_detections
from rkdeploy.device.postprocess.detections import InstanceMask
from tests.device.drawing.drawn_samples import TASKS, boxes, ellipse, result_of


def test_every_coordinate_is_scaled() -> None:
    """Boxes, points and centers by each axis, sides by the mean; scores, visibilities and angles stay."""
    found = replace(
        boxes([10, 20, 30, 40]),
        keypoints=np.array([[[10, 20, 0.7]]], np.float32),
        rotated=np.array([[20, 30, 8, 6, 0.5]], np.float32),
    )
    half = scale_detections(found, (100, 200), (50, 100))
    assert half.xyxy.tolist() == [[5, 10, 15, 20]]
    assert half.keypoints is not None
    assert half.rotated is not None
    assert half.keypoints[0, 0].tolist() == pytest.approx([5, 10, 0.7])
    assert half.rotated[0].tolist() == pytest.approx([10, 15, 4, 3, 0.5])
    assert half.scores.tolist() == found.scores.tolist()
    assert half.xyxy.dtype == half.keypoints.dtype == half.rotated.dtype == np.float32


def test_masks_and_maps_are_resampled() -> None:
    """A mask covers the same share of the image, at the same place; a map has the new size."""
    mask = ellipse(np.array([40, 60, 140, 160], np.float32))
    found = replace(boxes([40, 60, 140, 160]), masks=(mask,), class_maps=result_of("drive", 300, 200).class_maps)
    small = scale_detections(found, (200, 300), (100, 150))
    assert small.masks is not None
    (scaled,) = small.masks
    assert (scaled.left, scaled.top, scaled.pixels.shape) == (20, 30, (50, 50))
    assert scaled.pixels.dtype == np.bool_
    assert scaled.pixels.mean() == pytest.approx(mask.pixels.mean(), abs=0.02)
    assert [one.class_ids.shape for one in small.class_maps] == [(100, 150)] * 2
    assert small.class_maps[0].class_ids.mean() == pytest.approx(found.class_maps[0].class_ids.mean(), abs=0.01)


@pytest.mark.parametrize("to_hw", [(1, 1), (37, 53), (240, 320), (3, 300)])
@pytest.mark.parametrize("task", TASKS)
def test_masks_stay_inside_at_any_size(task: str, to_hw: tuple[int, int]) -> None:
    """Rounding never carries a mask over the border, nor does it lose an object."""
    found = result_of(task, 320, 240)
    if found.masks is not None:
        edge = (InstanceMask(319, 239, np.ones((1, 1), np.bool_)), InstanceMask(5, 5, np.zeros((0, 0), np.bool_)))
        found = replace(found, masks=(*edge, *found.masks[2:]))
    scaled = scale_detections(found, (240, 320), to_hw)
    assert len(scaled) == len(found)
    for mask in scaled.masks or ():
        assert 0 <= mask.left <= mask.left + mask.pixels.shape[1] <= to_hw[1]
        assert 0 <= mask.top <= mask.top + mask.pixels.shape[0] <= to_hw[0]
    assert all(one.class_ids.shape == to_hw for one in scaled.class_maps)


def test_the_same_size_is_the_same_result() -> None:
    """Nothing moves."""
    found = result_of("segment", 320, 240)
    same = scale_detections(found, (240, 320), (240, 320))
    assert np.array_equal(same.xyxy, found.xyxy)
    assert found.masks is not None
    assert same.masks is not None
    for a, b in zip(found.masks, same.masks, strict=True):
        assert (a.left, a.top) == (b.left, b.top)
        assert np.array_equal(a.pixels, b.pixels)
