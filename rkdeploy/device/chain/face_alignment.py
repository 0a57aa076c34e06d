"""Alignment of a face by its five landmarks, as networks of face vectors were trained with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.chain.region import Region

TEMPLATE: Final = np.array(
    ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)), np.float64
)
"""x, y of both eyes, nose and both corners of the mouth, left in the image first, in a face of 112x112 pixels.

Source: deepinsight/insightface, python-package/insightface/utils/face_align.py, `arcface_dst`."""
_SIDE: Final = 112


def face_region(landmarks: NDArray[np.floating[Any]], height: int, width: int) -> Region | None:
    """Face turned, scaled and moved so that its landmarks lie on the template's: the best similarity transform.

    For a network of another size the template grows as in insightface's `estimate_norm`: with multiples of 128 pixels
    it keeps its place in 128x112 pixels, and with others it is scaled to the height.

    Args:
        landmarks: (5, 2) x, y in pixels of the frame, in the template's order.
        height: of the network's input in pixels.
        width: of the network's input in pixels.

    Returns:
        None for landmarks that are not finite, or lie on one point.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        return None
    scale = height / 128 if height % 128 == 0 and height % _SIDE else height / _SIDE
    target = TEMPLATE * scale
    target[:, 0] += (width - _SIDE * scale) / 2
    matrix = _similarity(points, target)
    return None if matrix is None else Region(matrix, width, height, border="black")


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The similarity transform (3, 3) with the least squared distances, without mirroring; None if there is none.

    With points as complex numbers it is z -> a z + b, a linear least squares problem with a closed solution.
    """
    z, w = source @ (1, 1j), target @ (1, 1j)
    centered = z - z.mean()
    spread = float((np.abs(centered) ** 2).sum())
    if spread < 1e-6:
        return None
    a = complex((np.conj(centered) * (w - w.mean())).sum() / spread)
    b = complex(w.mean() - a * z.mean())
    if abs(a) < 1e-6:
        return None
    return np.array(((a.real, -a.imag, b.real), (a.imag, a.real, b.imag), (0, 0, 1)), np.float64)
