"""Constant-velocity Kalman filters of boxes, many at a time.

The filter is that of ByteTrack (Zhang et al. 2022), which took it from DeepSORT: the state is center x, center y,
aspect ratio (width / height) and height in pixels, with their velocities, and its noise grows with the height.  Motion,
noise and measurement couple a coordinate with its own velocity only, so that the 8 x 8 covariance stays four blocks of
2 x 2.  These are kept, and every operation is elementwise: the results are those of the full filter.

Time is in steps.  ByteTrack has one step per frame; here a step is a fixed time, and a prediction takes any number of
them, also a fraction.  Its noise is the sum over whole steps, sum(F^i Q F'^i), as a polynomial of their number, so that
predicting over 2.5 steps and then over 1.5 is predicting over 4.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

POSITION: Final = 0
VELOCITY: Final = 1
VARIANCE: Final = 2
COVARIANCE: Final = 3
VELOCITY_VARIANCE: Final = 4
"""Rows of a state (5, 4): mean position and velocity, variance of the position, covariance of both, variance of the
velocity, each for center x, center y, aspect ratio, height."""

_HEIGHT: Final = 3
_POSITION_SHARE: Final = np.array([1 / 20, 1 / 20, 0.0, 1 / 20])
_VELOCITY_SHARE: Final = np.array([1 / 160, 1 / 160, 0.0, 1 / 160])
"""Standard deviations of the process noise per step, in heights; those of the aspect ratio do not depend on it."""
_ASPECT: Final = np.array([0.0, 0.0, 1.0, 0.0])
_ASPECT_STD: Final = 1e-2
_ASPECT_VELOCITY_STD: Final = 1e-5
_MEASURED_ASPECT_STD: Final = 1e-1


def started(measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """States (N, 5, 4) of objects that were seen for the first time.

    Args:
        measured: (N, 4) float64 center x, center y, aspect ratio, height.
    """
    heights = measured[:, _HEIGHT, None]
    states = np.zeros((len(measured), 5, 4))
    states[:, POSITION] = measured
    states[:, VARIANCE] = (2 * _POSITION_SHARE * heights + _ASPECT_STD * _ASPECT) ** 2
    states[:, VELOCITY_VARIANCE] = (10 * _VELOCITY_SHARE * heights + _ASPECT_VELOCITY_STD * _ASPECT) ** 2
    return states


def predicted(states: NDArray[np.float64], steps: float) -> NDArray[np.float64]:
    """States (N, 5, 4) after a time.

    Args:
        states: (N, 5, 4).
        steps: above 0; need not be whole.
    """
    heights = states[:, POSITION, _HEIGHT, None]
    position_noise = (_POSITION_SHARE * heights + _ASPECT_STD * _ASPECT) ** 2
    velocity_noise = (_VELOCITY_SHARE * heights + _ASPECT_VELOCITY_STD * _ASPECT) ** 2
    moved = np.empty_like(states)
    moved[:, POSITION] = states[:, POSITION] + steps * states[:, VELOCITY]
    moved[:, VELOCITY] = states[:, VELOCITY]
    moved[:, VARIANCE] = (
        states[:, VARIANCE]
        + 2 * steps * states[:, COVARIANCE]
        + steps * steps * states[:, VELOCITY_VARIANCE]
        + steps * position_noise
        + steps * (steps - 1) * (2 * steps - 1) / 6 * velocity_noise
    )
    moved[:, COVARIANCE] = (
        states[:, COVARIANCE] + steps * states[:, VELOCITY_VARIANCE] + steps * (steps - 1) / 2 * velocity_noise
    )
    moved[:, VELOCITY_VARIANCE] = states[:, VELOCITY_VARIANCE] + steps * velocity_noise
    return moved


def corrected(states: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """States (N, 5, 4) after a measurement of each.

    Args:
        states: (N, 5, 4), predicted to the time of the measurement.
        measured: (N, 4) float64 center x, center y, aspect ratio, height.
    """
    heights = states[:, POSITION, _HEIGHT, None]
    noise = (_POSITION_SHARE * heights + _MEASURED_ASPECT_STD * _ASPECT) ** 2
    variance, covariance = states[:, VARIANCE], states[:, COVARIANCE]
    total = variance + noise
    gain, velocity_gain = variance / total, covariance / total
    missed = measured - states[:, POSITION]
    after = np.empty_like(states)
    after[:, POSITION] = states[:, POSITION] + gain * missed
    after[:, VELOCITY] = states[:, VELOCITY] + velocity_gain * missed
    after[:, VARIANCE] = variance - gain * variance
    after[:, COVARIANCE] = covariance - gain * covariance
    after[:, VELOCITY_VARIANCE] = states[:, VELOCITY_VARIANCE] - velocity_gain * covariance
    return after


def boxes_of(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes of states (N, 5, 4): center x, center y, width, height in pixels, (N, 4) float64."""
    boxes = states[:, POSITION].copy()
    boxes[:, 2] *= boxes[:, 3]
    return boxes
