"""Distribution Focal Loss: the bins of a box's sides to the expected distances.

The expectation of softmax(bins) over 0 .. reg_max - 1, as in ultralytics 8.4, nn/modules/block.py, `DFL`.  Softmax does
not change when a constant is subtracted from all bins: neither the zero point nor a common maximum matters.
Eight-bit values take 256 values only, so their exponentials are looked up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor

_LARGEST_EXPONENT: Final = 80.0
"""Largest exponent whose exp(), and that of its negative, fit float32 with room for sums and products over the bins."""
_BLOCK: Final = 64
"""Rows per matrix product.

BLAS rounds differently for different sizes, and a box must not depend on the number of other boxes; and for larger
products OpenBLAS uses several threads, which wait for one another on busy cores.
"""


def empty_weights(count: int, channels: int) -> NDArray[np.float32]:
    """Uninitialized weights for `count` rows, (n, channels) float32: n is `count` rounded up to whole blocks."""
    weights = np.empty((-(-count // _BLOCK) * _BLOCK, channels), np.float32)
    weights[count:] = 1.0
    return weights


def has_table(tensor: HeadTensor) -> bool:
    """True if `look_up` can read this tensor's bins: eight bits, and a range whose exponentials fit float32."""
    return tensor.values.itemsize == 1 and tensor.scale * 128 < _LARGEST_EXPONENT


def look_up(tensor: HeadTensor, raw: NDArray[Any], weights: NDArray[np.float32]) -> None:
    """Exponentials of raw bins, per side up to a common factor.

    Args:
        tensor: the tensor that the bins come from.
        raw: (n, 4 * reg_max), contiguous, n > 0.
        weights: (n, 4 * reg_max) float32, contiguous; written to.
    """
    cv2.LUT(raw.view(np.uint8), exponentials(tensor.scale, raw.dtype), dst=weights)


def distances_of_weights(weights: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Expected distances in cells, (4, count), from the weights of the bins.

    Args:
        weights: from `empty_weights`, with the first `count` rows written.
        count: number of rows to return.
    """
    reg_max = weights.shape[1] // 4
    sums = weights.reshape(-1, 4 * _BLOCK, reg_max) @ _factors(reg_max)
    moments, totals = sums.reshape(-1, 4, 2)[:count].T
    distances = np.empty((4, count), np.float32)
    np.divide(moments, totals, out=distances)
    return distances


def distances_of_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Expected distances in cells, (4, n), from dequantized bins (4 * reg_max, n), which are overwritten."""
    reg_max = len(logits) // 4
    bins = logits.reshape(4, reg_max, logits.shape[1])
    with np.errstate(invalid="ignore"):  # inf - inf, when the network overflowed
        bins -= bins.max(axis=1, keepdims=True)
    np.exp(bins, out=bins)
    sums = _factors(reg_max).T @ bins  # (4, 2, n)
    return np.asarray(sums[:, 0] / sums[:, 1])


@lru_cache(maxsize=64)
def exponentials(scale: float, dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """exp((raw - middle) * scale) of every 8-bit raw value, (1, 256), indexed by its bits as an unsigned number.

    Args:
        scale: scale of a tensor for which `has_table` is True.
        dtype: dtype of the tensor, int8 or uint8.
    """
    raw = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    middle = 0.0 if dtype.kind == "i" else 128.0
    exponentials = np.empty((1, 256), np.float32)
    exponentials[0] = np.exp((raw - middle) * scale)
    return exponentials


@lru_cache(maxsize=8)
def _factors(reg_max: int) -> NDArray[np.float32]:
    """Matrix (reg_max, 2) that multiplies weights into their first moment and their sum."""
    return np.asarray(np.stack((np.arange(reg_max), np.ones(reg_max)), axis=1), np.float32)
