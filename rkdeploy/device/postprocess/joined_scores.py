"""Scores of heads that tell objects from background by themselves: class and objectness joined, or a softmax.

Sources: YOLOX 0.3, utils/boxes.py, `postprocess` (product); OpenCV 4.x, objdetect/src/face_detect.cpp, YuNet, and
PaddleDetection 2.5, ppdet/modeling/heads/pico_head.py, `PicoHeadV2` (square root of the product).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import PointFormula


def joined_scores(
    classes: NDArray[np.float32], objectness: NDArray[np.float32], formula: PointFormula
) -> NDArray[np.float32]:
    """Scores of rows.

    Args:
        classes: probabilities, (n,) or (nc, n).
        objectness: probabilities, of a shape that goes with it.
        formula: of the contract.
    """
    product: NDArray[np.float32] = classes * objectness
    if formula.score == "product":
        return product
    return np.asarray(np.sqrt(np.maximum(product, 0)))  # a runtime's sigmoid may end a little below 0


def least_objectness(threshold: np.float32, formula: PointFormula) -> np.float32:
    """The objectness that a row needs for a score above a threshold, whatever its class says."""
    return threshold if formula.score == "product" else np.float32(threshold * threshold)


def shares_above_background(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares of a softmax over classes and background, (nc, n).

    Args:
        logits: of the classes, less that of the background, (nc, n).  The background's is 0.
    """
    greatest = np.maximum(logits.max(axis=0), np.float32(0.0))
    powers = np.exp(logits - greatest)
    shares: NDArray[np.float32] = powers / (powers.sum(axis=0) + np.exp(-greatest))
    return shares
