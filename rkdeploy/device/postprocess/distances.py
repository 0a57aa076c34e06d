"""Distribution Focal Loss: the bins of a box's sides to the expected distances (ultralytics 8.4, nn/modules/block.py,
`DFL`): the expectation of softmax(bins) over 0 .. reg_max - 1.

Softmax is the same whatever is subtracted from all bins alike: neither the zero point nor a common maximum matters.
Eight bits have 256 values, so their exponentials are looked up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor

_LARGEST_EXPONENT: Final = 80.0
"""exp() of it and of its negative are float32, with room for sums and products over the bins."""
_BLOCK: Final = 64
"""Rows of one matrix product.  BLAS rounds by the product's size, and a box must not depend on how many others there
are; and of larger products OpenBLAS takes several threads, which wait for one another on cores that are busy."""


def empty_weights(count: int, channels: int) -> NDArray[np.float32]:
    """Room for the weights of `count` rows, (n, channels): n is `count` rounded up to whole blocks."""
    weights = np.empty((-(-count // _BLOCK) * _BLOCK, channels), np.float32)
    weights[count:] = 1.0
    return weights


def has_table(tensor: HeadTensor) -> bool:
    """Whether `look_up` reads the bins of this tensor: eight bits, of a range that float32 holds exponentials of."""
    return tensor.values.itemsize == 1 and tensor.scale * 128 < _LARGEST_EXPONENT


def look_up(tensor: HeadTensor, raw: NDArray[Any], weights: NDArray[np.float32]) -> None:
    """Exponentials of raw bins, each side's to its own scale.

    Args:
        tensor: that the bins are of.
        raw: (n, 4 * reg_max), contiguous, n > 0.
        weights: likewise, written to.
    """
    cv2.LUT(raw.view(np.uint8), exponentials(tensor.scale, raw.dtype), dst=weights)


def distances_of_weights(weights: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Weights of the bins to the (4, count) expected distances in cells.

    Args:
        weights: from `empty_weights`, of which the first `count` rows are written.
        count: rows that are wanted.
    """
    reg_max = weights.shape[1] // 4
    sums = weights.reshape(-1, 4 * _BLOCK, reg_max) @ _factors(reg_max)
    moments, totals = sums.reshape(-1, 4, 2)[:count].T
    distances = np.empty((4, count), np.float32)
    np.divide(moments, totals, out=distances)
    return distances


def distances_of_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dequantized bins (4 * reg_max, n), overwritten, to the (4, n) expected distances in cells."""
    reg_max = len(logits) // 4
    bins = logits.reshape(4, reg_max, logits.shape[1])
    with np.errstate(invalid="ignore"):  # inf - inf, of a network that overflowed
        bins -= bins.max(axis=1, keepdims=True)
    np.exp(bins, out=bins)
    sums = _factors(reg_max).T @ bins  # (4, 2, n)
    return np.asarray(sums[:, 0] / sums[:, 1])


@lru_cache(maxsize=64)
def exponentials(scale: float, dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """exp((raw - middle) * scale) of every raw value of eight bits, (1, 256), at its bits as an unsigned number.

    Args:
        scale: of a tensor that `has_table` lets pass.
        dtype: of the tensor.
    """
    raw = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    middle = 0.0 if dtype.kind == "i" else 128.0
    exponentials = np.empty((1, 256), np.float32)
    exponentials[0] = np.exp((raw - middle) * scale)
    return exponentials


@lru_cache(maxsize=8)
def _factors(reg_max: int) -> NDArray[np.float32]:
    """What turns weights into their moment and their sum, (reg_max, 2)."""
    return np.asarray(np.stack((np.arange(reg_max), np.ones(reg_max)), axis=1), np.float32)
