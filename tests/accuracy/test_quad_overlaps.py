"""Intersection over union of rotated boxes and outlines, by hand."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.accuracy.quad_overlaps import box_overlaps
from rkdeploy.device.postprocess.corners import corners_of

NONE = np.zeros(1, np.bool_)


def rectangle(x: float, y: float, width: float, height: float, angle: float = 0.0) -> NDArray[np.float32]:
    return np.asarray(corners_of(np.array([(x, y, width, height, angle)], np.float32))[0], np.float32)


@pytest.mark.parametrize(
    ("box", "outline", "expected"),
    [
        (rectangle(5, 5, 10, 10), rectangle(5, 5, 10, 10), 1.0),
        (rectangle(5, 5, 10, 10), rectangle(10, 5, 10, 10), 1 / 3),
        (rectangle(5, 5, 10, 10), rectangle(20, 5, 10, 10), 0.0),
        (rectangle(0, 0, 2, 2), rectangle(0, 0, 2, 2, pi / 4), 8 * (sqrt(2) - 1) / (8 - 8 * (sqrt(2) - 1))),
        (rectangle(0, 0, 40, 4, 0.3), rectangle(0, 0, 20, 4, 0.3), 0.5),
        (rectangle(1, 1, 2, 2)[::-1], rectangle(1, 1, 2, 2), 1.0),
    ],
)
def test_overlaps_by_hand(box: NDArray[np.float32], outline: NDArray[np.float32], expected: float) -> None:
    """Equal, shifted and apart; a square and itself turned: their octagon; in either direction of the corners."""
    assert box_overlaps([box], [outline], NONE)[0, 0] == pytest.approx(expected, abs=1e-5)
    assert box_overlaps([outline], [box], NONE)[0, 0] == pytest.approx(expected, abs=1e-5)


def test_outline_that_is_not_convex() -> None:
    """An L of three unit squares under a box of two by two."""
    outline = np.array([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], np.float64)
    assert box_overlaps([rectangle(1, 1, 2, 2)], [outline], NONE)[0, 0] == pytest.approx(0.75)
    assert box_overlaps([rectangle(1.5, 1.5, 1, 1)], [outline], NONE)[0, 0] == pytest.approx(0.0)


def test_illegible_areas_and_nothing() -> None:
    """With an area that does not count the overlap is the share of the box; no boxes give no rows."""
    small, large = rectangle(1, 1, 2, 2), rectangle(5, 5, 10, 10)
    assert box_overlaps([small], [large], np.ones(1, np.bool_))[0, 0] == pytest.approx(1.0)
    assert box_overlaps([], [large], NONE).shape == (0, 1)
    flat = np.zeros((4, 2))
    assert box_overlaps([flat], [flat], NONE)[0, 0] == 0
