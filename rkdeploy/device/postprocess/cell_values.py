"""Reads a head tensor's cells from memory in any layout: NCHW, NHWC, or the NPU's own NC1HWC2."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.runtime.protocol import HeadTensor

_OPENCV_DTYPES: Final = {1: np.uint8, 2: np.uint16, 4: np.int32}


def read_cells(tensor: HeadTensor, cells: NDArray[np.intp]) -> NDArray[Any]:
    """All raw channels of some cells, (C, n).  The memory order of the result depends on the tensor's.

    Args:
        tensor: (1, C, H, W) in any layout.
        cells: (n,) y * W + x.
    """
    values = tensor.values[0]
    if tensor.packed_channels is None:
        channels, height, width = values.shape
        if values.flags.c_contiguous:
            return np.asarray(values.reshape(channels, height * width).take(cells, axis=1))
        if values.transpose(1, 2, 0).flags.c_contiguous:
            return np.asarray(values.transpose(1, 2, 0).reshape(height * width, channels).take(cells, axis=0).T)
        y, x = np.divmod(cells, width)
        return np.asarray(values[:, y, x])
    y, x = np.divmod(cells, values.shape[2])
    # Reading whole blocks, 16 bytes at a time, is faster than reading single lanes.
    blocks = values.transpose(1, 2, 0, 3)[y, x]
    return np.asarray(blocks.reshape(len(cells), values.shape[0] * values.shape[3])[:, : tensor.packed_channels].T)


def read_rows(tensor: HeadTensor, cells: NDArray[np.intp]) -> NDArray[Any]:
    """`read_cells` with the channels of a cell adjacent in memory, (n, C), contiguous; n > 0."""
    found = read_cells(tensor, cells)
    if found.T.flags.c_contiguous:
        return found.T
    # numpy takes up to seven times as long as OpenCV to transpose.
    integers = np.ascontiguousarray(found).view(_OPENCV_DTYPES[found.itemsize])
    return np.asarray(cv2.transpose(integers)).view(found.dtype)
