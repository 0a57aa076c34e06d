"""A decoder that returns a box once per class above the threshold, as the trainers' validators do.

YOLOv5's val.py and ultralytics' validator call non-maximum suppression with `multi_label=True`: at the threshold of
0.001 the box of a bolt at 0.9 is also a washer at 0.002, and both are in the precision-recall curves.  Detection
takes the best class only.  `rkdeploy eval` follows the validators, so that its float figures can be compared with
theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.boxes import xyxy_from_xywh
from rkdeploy.device.postprocess.decoder import Candidates, Decoder, DenseField, RowDetails
from rkdeploy.device.postprocess.rotated import upright_around
from rkdeploy.device.runtime.protocol import HeadTensor


class MultiLabelDecoder:
    """Wrapper of a decoder.  See `rkdeploy.device.postprocess.decoder.Decoder`; slow, like `decode_dense`."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def candidates(self, tensors: Sequence[HeadTensor], class_thresholds: NDArray[np.float32]) -> Candidates:
        """Every pair of a row and a class whose score is greater than the threshold of the class.

        For an anchor head the objectness alone must also be greater than the lowest threshold, as in upstream.
        """
        dense = {found.name: found.values for found in self._decoder.decode_dense(tensors)}
        scores = dense["scores"]
        if "objectness" in dense:
            objectness = dense["objectness"]
            scores = np.where(objectness > class_thresholds.min(), scores * objectness, np.float32(0.0))
        rows, class_ids = (scores > class_thresholds).nonzero()
        xywh = np.concatenate((dense["xy"][rows], dense["wh"][rows]), axis=1)
        found = scores[rows, class_ids]
        if "angle" not in dense:
            return Candidates(xyxy_from_xywh(np.ascontiguousarray(xywh.T)), found, class_ids.astype(np.int32), rows)
        rotated = np.concatenate((xywh, dense["angle"][rows]), axis=1)
        return Candidates(upright_around(rotated), found, class_ids.astype(np.int32), rows, rotated)

    def details(self, tensors: Sequence[HeadTensor], rows: NDArray[np.intp]) -> RowDetails:
        """Keypoints and mask coefficients of the given rows."""
        return self._decoder.details(tensors, rows)

    def decode_dense(self, tensors: Sequence[HeadTensor]) -> tuple[DenseField, ...]:
        """All rows."""
        return self._decoder.decode_dense(tensors)
