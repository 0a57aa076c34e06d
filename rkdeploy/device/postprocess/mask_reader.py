"""Instance masks from prototypes and an object's coefficients.

As ultralytics' `process_mask_native` (8.4, utils/ops.py): the coefficients combine the prototypes to one plane of
logits, which is interpolated bilinearly at source pixels, cut at 0 (probability 0.5) and cropped to the box.  Here only
the part of the prototypes under a box is read, in the quantized domain: the sign of a sum needs no scale.  Upstream
crops the letterbox padding before it interpolates, in two steps if the padding does not end at a cell border; here it
is always one step.  If the padding ends at a cell border, only the image's outermost cells differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.postprocess.detections import InstanceMask
from rkdeploy.device.postprocess.raw_values import outputs_with, require_image_sized
from rkdeploy.device.postprocess.resampling import Axis, SignReader, source_axes
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform


class MaskReader:
    """Reader of one model's masks.  It keeps the geometry of the last image: one reader per thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Check the contract.

        Args:
            spec: the contract, with one `prototypes` output.

        Raises:
            RkdeployError: when there is not exactly one such output, or it does not have the input's size.
        """
        found = outputs_with(spec.outputs, ("prototypes",))
        if len(found) != 1:
            raise RkdeployError(f"The contract has {len(found)} prototypes outputs, expected one.")
        self._index, self._output = found[0]
        require_image_sized(self._output, spec)
        if self._output.activation != "linear":
            raise RkdeployError(
                f'Output "{self._output.name}" has activation "{self._output.activation}", '
                "expected linear for prototypes."
            )
        self._transform: LetterboxTransform | None = None
        self._axes: tuple[Axis, Axis] | None = None
        self._positive = SignReader()

    def __call__(
        self,
        tensors: Sequence[HeadTensor],
        coefficients: NDArray[np.float32],
        xyxy: NDArray[np.float32],
        transform: LetterboxTransform,
    ) -> tuple[InstanceMask, ...]:
        """The masks of some objects.

        Args:
            tensors: one per output of the contract, in its order.
            coefficients: (N, nm) float32.
            xyxy: (N, 4) boxes in source pixels, clipped to the image.
            transform: of the image that the network saw.

        Returns:
            One mask per object, with the pixels (column, row) for which x1 <= column < x2 and y1 <= row < y2.
        """
        tensor = tensors[self._index]
        if self._axes is None or self._transform != transform:
            self._axes = source_axes(transform, tensor.shape[2:], self._output.stride)  # type: ignore[arg-type] # (H, W)
            self._transform = transform
        rows, columns = self._axes
        pixels = np.ceil(xyxy).astype(np.intp).tolist()
        return tuple(
            InstanceMask(x1, y1, self._mask_of(tensor, weights, rows[y1:y2], columns[x1:x2]))
            for weights, (x1, y1, x2, y2) in zip(coefficients, pixels, strict=True)
        )

    def _mask_of(
        self, tensor: HeadTensor, weights: NDArray[np.float32], rows: Axis, columns: Axis
    ) -> NDArray[np.bool_]:
        """The mask of one object, (rows, columns)."""
        if not len(rows.low) or not len(columns.low):
            return np.zeros((len(rows.low), len(columns.low)), np.bool_)
        logits = _combined(tensor, weights, rows.span, columns.span)
        return self._positive(logits, rows.within(rows.span), columns.within(columns.span))


def _combined(tensor: HeadTensor, weights: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
    """Part of the weighted sum of the prototypes, divided by their scale, (rows, columns).

    Uses einsum instead of a matrix product: at this size BLAS takes longer, and wakes its threads.
    """
    if tensor.packed_channels is None:
        part = tensor.values[0, :, rows, columns].astype(np.float32)  # in the tensor's own order of memory
        plane: NDArray[np.float32] = np.einsum("c,chw->hw", weights, part)
    else:
        lanes = tensor.values.shape[4]
        plane = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for block in range(-(-tensor.packed_channels // lanes)):
            of_block = weights[block * lanes : (block + 1) * lanes]
            part = tensor.values[0, block, rows, columns, : len(of_block)].astype(np.float32)
            plane += np.einsum("hwl,l->hw", part, of_block)
    # The sum of (raw - zero_point) * weight: the zero point comes out of the sum.
    plane -= np.float32(tensor.zero_point) * weights.sum()
    return plane
