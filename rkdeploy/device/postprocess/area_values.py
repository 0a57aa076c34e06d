"""Probabilities of an `area_map`, compared in the tensor's own numbers and computed only where they are needed."""

from __future__ import annotations

import math
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation
from rkdeploy.device.postprocess.raw_values import sigmoid_in_place
from rkdeploy.device.runtime.protocol import HeadTensor

_STEPS: Final = 256


class AreaValues:
    """Reader of the raw values of one map.  It keeps the table of the last scale: one per thread.

    Args:
        activation: `sigmoid` where the values are probabilities; otherwise they are logits.
        threshold: probability above which a pixel belongs to an area.
    """

    def __init__(self, activation: Activation, threshold: float) -> None:
        self._is_logit = activation == "linear"
        self._real = math.log(threshold / (1 - threshold)) if self._is_logit else threshold
        self._table_key: tuple[str, float, int] = ("", 0.0, 0)
        self._table = np.zeros(0, np.float32)

    def above(self, plane: NDArray[Any], tensor: HeadTensor) -> NDArray[np.uint8]:
        """(H, W) uint8, 1 where the probability is above the threshold.

        Args:
            plane: (H, W) raw values.
            tensor: of the plane, for its scale.
        """
        limit = self._real / tensor.scale + tensor.zero_point
        if plane.dtype.kind == "f":
            return np.asarray(plane > plane.dtype.type(limit)).view(np.uint8)
        info = np.iinfo(plane.dtype)
        whole = math.floor(limit)  # of integers, raw > limit is raw > floor(limit)
        if whole < info.min:
            return np.ones(plane.shape, np.uint8)
        return np.asarray(plane > plane.dtype.type(min(whole, info.max))).view(np.uint8)

    def mean(self, raw: NDArray[Any], mask: NDArray[np.uint8], tensor: HeadTensor) -> float:
        """Mean probability of the raw values where the mask is not 0.

        Args:
            raw: (h, w), a part of the plane.
            mask: (h, w).
            tensor: of the plane, for its scale.
        """
        if self._is_logit or raw.dtype.itemsize == 2:  # OpenCV takes no means of float16
            return float(cv2.mean(self._probabilities(raw, tensor), mask)[0])
        return float((cv2.mean(raw, mask)[0] - tensor.zero_point) * tensor.scale)

    def _probabilities(self, raw: NDArray[Any], tensor: HeadTensor) -> NDArray[np.float32]:
        """The probabilities of raw values, of their shape, float32."""
        if raw.dtype.itemsize != 1:
            return self._computed(raw, tensor)
        key = (raw.dtype.name, tensor.scale, tensor.zero_point)
        if key != self._table_key:
            every = np.arange(_STEPS, dtype=np.uint8).view(raw.dtype)
            self._table, self._table_key = self._computed(every, tensor), key
        return self._table.take(raw.view(np.uint8))

    def _computed(self, raw: NDArray[Any], tensor: HeadTensor) -> NDArray[np.float32]:
        real: NDArray[np.float32] = raw.astype(np.float32)
        real -= np.float32(tensor.zero_point)
        real *= np.float32(tensor.scale)
        if self._is_logit:
            sigmoid_in_place(real)
        return real
