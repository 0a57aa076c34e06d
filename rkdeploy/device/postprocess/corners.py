"""The four corners of rotated boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HALF = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], np.float32)


def corners_of(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners of rotated boxes, in the same frame.

    A corner at (dx, dy) from the center of the unrotated box goes to
    (cx + dx cos a - dy sin a, cy + dx sin a + dy cos a): a turns the x axis toward the y axis, which points down in
    images, so boxes turn clockwise on the screen.

    Args:
        rotated: (N, 5) center x, y, width, height and angle in radians; non-finite values give non-finite corners.

    Returns:
        (N, 4, 2) float32 x, y: first the corner that is top left at angle 0, then clockwise on the screen.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        x, y = np.moveaxis(rotated[:, None, 2:4] * _HALF, 2, 0)
        cos, sin = np.cos(rotated[:, 4:]), np.sin(rotated[:, 4:])
        turned = np.stack((x * cos - y * sin, x * sin + y * cos), axis=2)
        return np.asarray(rotated[:, None, :2] + turned, np.float32)
