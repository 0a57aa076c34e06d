"""Corners of rotated boxes."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.corners import corners_of


def test_by_hand() -> None:
    """Upright, a quarter turn clockwise on the screen, and 30 degrees."""
    rotated = np.array([[10, 20, 8, 4, 0], [10, 20, 8, 4, np.pi / 2], [0, 0, 4, 0, np.pi / 6]], np.float32)
    corners = corners_of(rotated)
    assert (corners.shape, corners.dtype.name) == ((3, 4, 2), "float32")
    assert corners[0].tolist() == [[6, 18], [14, 18], [14, 22], [6, 22]]
    assert corners[1].ravel().tolist() == pytest.approx([12, 16, 12, 24, 8, 24, 8, 16], abs=1e-5)
    assert corners[2].ravel().tolist() == pytest.approx([-(3**0.5), -1, 3**0.5, 1, 3**0.5, 1, -(3**0.5), -1], abs=1e-5)


def test_nothing_and_no_numbers() -> None:
    """No boxes give no corners, and a NaN stays one without a warning."""
    assert corners_of(np.zeros((0, 5), np.float32)).shape == (0, 4, 2)
    with np.errstate(all="raise"):
        assert np.isnan(corners_of(np.array([[0, 0, 1, 1, np.inf]], np.float32))).all()
