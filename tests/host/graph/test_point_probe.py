"""Meaning of decoded rows, from the boxes that a head gives on zeros."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.host.graph.point_probe import are_corners

CENTERS = 8.0 * np.stack(np.meshgrid(np.arange(80), np.arange(80)), axis=-1).reshape(-1, 2) + 4.0
CORNERS = np.hstack([CENTERS - 60.0, CENTERS + 60.0])
SIZED = np.hstack([CENTERS, np.full_like(CENTERS, 120.0)])


@pytest.mark.parametrize("step", [0.0, 2.5, 7.0])
@pytest.mark.parametrize(("boxes", "corners"), [(CORNERS, True), (SIZED, False)])
def test_rounding_leaves_corners_and_sizes_apart(boxes: NDArray[np.float64], corners: bool, step: float) -> None:
    """A quantized decode rounds each value to steps of some pixels, and earlier errors add up to a step more."""
    noise = np.random.default_rng(0).uniform(-step, step, boxes.shape)
    rounded = np.round((boxes + noise) / step) * step if step else boxes
    assert are_corners(rounded) is corners
    assert are_corners(rounded / 640) is corners
