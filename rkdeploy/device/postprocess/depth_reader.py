"""Depth maps: the depth of every pixel of the source image.

As in ultralytics' depth prediction (8.4, models/yolo/depth/predict.py), the formula comes first and the depths are
interpolated, not the network's values.  There are at most 256 values in an 8-bit tensor: a table has the depth of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.formulas import DepthFormula
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import FoundDepth
from rkdeploy.device.postprocess.native.decode_library import library as native_library
from rkdeploy.device.postprocess.native.maps import native_resampled
from rkdeploy.device.postprocess.raw_values import outputs_with, require_map_sized
from rkdeploy.device.postprocess.resampling import bands, map_axes, plane_of, resampled
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform

_LARGEST_POWER: Final = 80.0
"""exp of more is no longer a float32."""


class DepthReader:
    """Reader of one model's depth map.  It keeps the table of the last scale: one reader per thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `depth_map` output.

        Raises:
            RkdeployError: when there is not exactly one such output of one plane, no formula, or a size that does not
                fit the input's.
        """
        found = outputs_with(spec.outputs, ("depth_map",))
        if len(found) != 1 or spec.depth is None:
            formula = "no formula" if spec.depth is None else "a formula"
            raise RkdeployError(f"The contract has {len(found)} depth_map outputs and {formula}, expected one of each.")
        self._index, self._output = found[0]
        if self._output.shape[1] != 1:
            raise RkdeployError(
                f'Output "{self._output.name}" has {self._output.shape[1]} planes, expected 1 of depth.'
            )
        require_map_sized(self._output, spec)
        self._formula, self._image = spec.depth, spec.input
        self._table_key: tuple[str, float, int] = ("", 0.0, 0)
        self._table = np.zeros(0, np.float32)

    def __call__(self, tensors: Sequence[HeadTensor], transform: LetterboxTransform) -> FoundDepth:
        """The depth of one image.

        Args:
            tensors: one per output of the contract, in its order.
            transform: of the image that the network saw.

        Returns:
            The depth at every pixel of the source image.
        """
        rows, columns = map_axes(transform, self._plane_hw, self._image, corners=self._formula.corners)
        part = (rows.span, columns.span)  # a letterbox's padding is left out
        rows, columns = rows.within(rows.span), columns.within(columns.span)
        plane = self._depths(tensors[self._index], part)
        library = native_library()
        if library is not None:
            return FoundDepth(native_resampled(library, plane, rows, columns), self._formula.kind)
        values = np.empty((len(rows.low), len(columns.low)), np.float32)
        for band in bands(rows, len(columns.low)):
            span = rows[band].span
            values[band] = resampled(plane[span], rows[band].within(span), columns)
        return FoundDepth(values, self._formula.kind)

    @property
    def _plane_hw(self) -> tuple[int, int]:
        return self._output.shape[2], self._output.shape[3]

    def _depths(self, tensor: HeadTensor, part: tuple[slice, slice]) -> NDArray[np.float32]:
        """(h, w) float32 depths of a part of the plane."""
        raw = plane_of(tensor, 0)[part]
        if raw.dtype.itemsize != 1:
            real = HeadTensor(raw[None, None], tensor.scale, tensor.zero_point).dequantized()
            return depth_of(real[0, 0], self._formula)
        key = (raw.dtype.name, tensor.scale, tensor.zero_point)
        if key != self._table_key:
            every = np.arange(256, dtype=np.uint8).view(raw.dtype).reshape(1, 1, 1, 256)
            real = HeadTensor(every, tensor.scale, tensor.zero_point).dequantized()
            self._table, self._table_key = depth_of(real.ravel(), self._formula), key
        return self._table.take(raw.view(np.uint8))


def depth_of(raw: NDArray[np.float32], formula: DepthFormula) -> NDArray[np.float32]:
    """The depths of real values of the tensor, of their shape, float32."""
    limited = raw
    if formula.low is not None or formula.high is not None:
        limited = np.clip(raw, formula.low, formula.high).astype(np.float32, copy=False)
    inner: NDArray[np.float32] = limited * np.float32(formula.gain) + np.float32(formula.offset)
    if not formula.exponential:
        return inner
    depths: NDArray[np.float32] = np.exp(np.minimum(inner, np.float32(_LARGEST_POWER)))
    return depths
