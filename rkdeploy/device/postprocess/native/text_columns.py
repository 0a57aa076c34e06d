"""Columns of a text recognizer by the C code (text.c)."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.layout import address, layout_of
from rkdeploy.device.runtime.protocol import HeadTensor


class NativeColumns:
    """One tensor (1, K, 1, T) of scores, as the C code reads it.

    Args:
        library: the C library.
        tensor: checked by `require_tensors`.
    """

    def __init__(self, library: ctypes.CDLL, tensor: HeadTensor) -> None:
        self._library = library
        self._values = tensor.values
        self._layout = layout_of(tensor)
        self._layout.values = address(tensor.values)

    def best(self) -> NDArray[np.int32]:
        """The number of the best score in each column, (T,) int32; of equal ones the first."""
        ids = np.empty(self._layout.width, np.int32)
        failed = self._library.rkdeploy_best_of_columns(ctypes.byref(self._layout), address(ids))
        assert not failed, "the tensor has one row"
        return ids

    def steps_below(self, columns: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Number of scores that are 0 to 255 steps below the best, of some columns of an 8-bit tensor.

        Args:
            columns: (N,) int32, contiguous, below T.
            ids: (N,) int32, contiguous, the best score's number in each.

        Returns:
            (N, 256) int32.
        """
        steps = np.empty((len(columns), 256), np.int32)
        self._library.rkdeploy_steps_below(
            ctypes.byref(self._layout), address(columns), address(ids), len(columns), address(steps)
        )
        return steps

    def exp_sums(self, columns: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.float64]:
        """Sum of exp(score - best) over all scores, of some columns of a 16-bit or floating-point tensor.

        Args:
            columns: (N,) int32, contiguous, below T.
            ids: (N,) int32, contiguous, the best score's number in each.

        Returns:
            (N,) float64.
        """
        sums = np.empty(len(columns), np.float64)
        failed = self._library.rkdeploy_exp_sums(
            ctypes.byref(self._layout), address(columns), address(ids), len(columns), address(sums)
        )
        assert not failed, "the tensor has no 8-bit values"
        return sums
