"""Depth in pictures."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.contract.formulas import DepthKind
from rkdeploy.device.drawing.depth_colors import DepthScale, depth_scale, draw_depth, draw_depth_scale
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.postprocess.detections import FoundDepth


def ramp(low: float, high: float, kind: DepthKind = "metric") -> FoundDepth:
    """Depths that grow from left to right."""
    return FoundDepth(np.linspace(low, high, 64, dtype=np.float32)[None].repeat(48, axis=0), kind)


@pytest.mark.parametrize(("kind", "left_is_near"), [("metric", True), ("relative", True), ("inverse", False)])
def test_near_is_light(kind: DepthKind, left_is_near: bool) -> None:
    """Small depths, or large inverse ones, get the light colors."""
    found = ramp(1.0, 9.0, kind)
    drawn = np.full((48, 64, 3), 100, np.uint8)
    draw_depth(drawn, found, depth_scale(found))
    left, right = drawn[:, :8].mean(), drawn[:, -8:].mean()
    assert (left > right + 30) if left_is_near else (right > left + 30)


def test_a_wild_value_does_not_take_the_colors() -> None:
    """The ends are percentiles; values that are not finite are drawn as the farthest or nearest color."""
    found = ramp(1.0, 9.0)
    plain = depth_scale(found)
    found.values[0, :3] = (1e-30, np.nan, np.inf)
    wild = depth_scale(found)
    assert wild.near == pytest.approx(plain.near, rel=0.05)
    drawn = np.full((48, 64, 3), 100, np.uint8)
    draw_depth(drawn, found, wild)
    assert depth_scale(FoundDepth(np.full((4, 4), np.nan, np.float32), "metric")) == DepthScale(0.0, 1.0)


def test_one_depth_everywhere() -> None:
    """A flat map has a scale that can be divided by."""
    scale = depth_scale(FoundDepth(np.full((8, 8), 3.0, np.float32), "metric"))
    assert scale.near > scale.far


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1920, 1080)])
@pytest.mark.parametrize("kind", ["metric", "inverse"])
def test_the_scale_lies_in_the_image(width: int, height: int, kind: DepthKind) -> None:
    """The panel, with light colors to the left."""
    image = np.full((height, width, 3), 100, np.uint8)
    (panel,) = draw_depth_scale(image, kind, DepthScale(0.1, 1.0), pen_for(width, height)).tolist()
    assert 0 <= panel[0] < panel[2] <= width
    assert 0 <= panel[1] < panel[3] <= height
    outside = image.copy()
    outside[panel[1] : panel[3], panel[0] : panel[2]] = 100
    assert (outside == 100).all()


def test_no_room() -> None:
    """An image too small for the scale gets none."""
    image = np.zeros((12, 30, 3), np.uint8)
    assert draw_depth_scale(image, "metric", DepthScale(0.1, 1.0), pen_for(30, 12)).shape == (0, 4)
    assert not image.any()
