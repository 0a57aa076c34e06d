"""Errors of depth maps."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.accuracy.depth_errors import depth_errors, errors_in_meters
from rkdeploy.device.postprocess.detections import FoundDepth


def test_by_hand() -> None:
    """Half of the pixels 10 % too far, half 50 %: AbsRel 0.3, delta1 one half; pixels without a truth do not count."""
    truth = np.full((4, 8), 2.0)
    truth[0, :4] = (0.0, -1.0, np.nan, np.inf)
    found = truth.copy()
    found[:2] = 2.2
    found[2:] = 3.0
    errors = depth_errors(truth, found, "metric")
    assert errors is not None
    assert errors.pixels == 28
    assert errors.abs_rel == pytest.approx((12 * 0.1 + 16 * 0.5) / 28)
    assert errors.delta1 == pytest.approx(12 / 28)
    assert errors.rmse == pytest.approx(((12 * 0.04 + 16 * 1.0) / 28) ** 0.5)


def test_values_that_are_no_depth() -> None:
    """NaN where the truth has a depth is wrong, not left out; nothing to compare is None."""
    truth = np.full((4, 4), 2.0)
    errors = depth_errors(truth, np.full((4, 4), np.nan), "metric")
    assert errors is not None
    assert (errors.abs_rel, errors.delta1) == (1.0, 0.0)
    assert depth_errors(np.zeros((4, 4)), truth, "metric") is None


def test_inverse_depth_at_the_horizon() -> None:
    """0 is a value of inverse depth; a difference there is measured by the image's mean."""
    truth = np.ones((10, 10))
    truth[:5] = 0.0
    found = truth.copy()
    found[:5] = 0.01  # a tenth of the mean of 0.5 is 0.05
    errors = depth_errors(truth, found, "inverse")
    assert errors is not None
    assert errors.abs_rel == pytest.approx(0.1)
    assert errors.delta1 == 1.0


def test_depth_without_a_unit_is_brought_to_meters() -> None:
    """Relative depth by its median, inverse depth by a line in 1 / truth: both come out exact for exact predictions."""
    truth = np.linspace(1.0, 9.0, 64, dtype=np.float32).reshape(8, 8)
    truth[0, 0] = 0.0  # not measured
    for found in (FoundDepth(truth * np.float32(0.1), "relative"),
                  FoundDepth(3 / np.maximum(truth, np.float32(0.5)) + np.float32(7), "inverse"),
                  FoundDepth(truth, "metric")):  # fmt: skip
        errors = errors_in_meters(truth, found)
        assert errors is not None
        assert errors == pytest.approx((0.0, 1.0, 0.0), abs=1e-4)
    far = errors_in_meters(truth, FoundDepth(truth * 2, "metric"))
    assert far is not None
    assert far[0] == pytest.approx(1.0)
    flat = errors_in_meters(truth, FoundDepth(np.ones_like(truth), "inverse"))
    assert flat is not None
    assert np.isfinite(flat).all()
