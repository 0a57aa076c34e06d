"""The filters of boxes against the whole 8 x 8 filter that they are taken apart from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.tracking.box_filter import VELOCITY, boxes_of, corrected, predicted, started

MEASURED = np.array([[100.0, 200.0, 0.5, 80.0], [640.0, 360.0, 1.5, 30.0]])
NEXT = np.array([[104.0, 203.0, 0.52, 81.0], [630.0, 361.0, 1.4, 31.0]])


def whole(state: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (8,) and covariance (8, 8) of a state (5, 4)."""
    position, between, velocity = (np.diag(row) for row in state[2:])
    return np.concatenate((state[0], state[1])), np.block([[position, between], [between, velocity]])


def noise(height: float) -> NDArray[np.float64]:
    """Process noise of one step, (8, 8), as the paper's code has it."""
    place, speed = height / 20, height / 160
    return np.diag(np.square([place, place, 1e-2, place, speed, speed, 1e-5, speed]))


def test_steps_are_those_of_the_whole_filter() -> None:
    """Start, three single steps with measurements: means and covariances of the matrix formulas."""
    states = started(MEASURED)
    motion = np.eye(8) + np.eye(8, k=4)
    mean, covariance = whole(states[0])
    np.testing.assert_allclose(np.diag(covariance), np.square([8, 8, 1e-2, 8, 5, 5, 1e-5, 5]))
    for shift in (0.0, 3.0, -2.0):
        measured = np.asarray(NEXT + shift)
        height = mean[3]
        mean, covariance = motion @ mean, motion @ covariance @ motion.T + noise(height)
        innovation = covariance[:4, :4] + np.diag(np.square([mean[3] / 20, mean[3] / 20, 1e-1, mean[3] / 20]))
        gain = covariance[:, :4] @ np.linalg.inv(innovation)
        mean, covariance = mean + gain @ (measured[0] - mean[:4]), covariance - gain @ innovation @ gain.T
        states = corrected(predicted(states, 1.0), measured)
    ours_mean, ours_covariance = whole(states[0])
    np.testing.assert_allclose(ours_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(ours_covariance, covariance, rtol=0, atol=1e-11)


def test_a_prediction_over_several_steps_is_that_many_single_ones() -> None:
    """With a height that does not change, which the noise depends on; fractions of a step too."""
    states = corrected(predicted(started(MEASURED), 1.0), NEXT)
    states[:, VELOCITY, 3] = 0.0
    single = states
    for _ in range(4):
        single = predicted(single, 1.0)
    np.testing.assert_allclose(predicted(states, 4.0), single, rtol=1e-12)
    np.testing.assert_allclose(predicted(predicted(states, 2.5), 1.5), single, rtol=1e-12)


@pytest.mark.parametrize("steps", [1e-3, 0.2, 0.5, 0.75, 1.5, 300.0])
def test_covariances_stay_positive(steps: float) -> None:
    """A variance is above 0 and both blocks have a positive determinant, whatever the step."""
    states = predicted(started(MEASURED), steps)
    assert (states[:, (2, 4)] > 0).all()
    assert (states[:, 2] * states[:, 4] > states[:, 3] ** 2).all()


def test_boxes_have_width_and_height() -> None:
    """Center, width = aspect ratio * height, height."""
    np.testing.assert_array_equal(boxes_of(started(MEASURED)), [[100, 200, 40, 80], [640, 360, 45, 30]])
