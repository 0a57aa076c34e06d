"""Non-maximum suppression by the C code (nms.c)."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.layout import address


def native_nms(
    library: ctypes.CDLL,
    xyxy: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    order: NDArray[np.intp],
    *,
    iou: float,
    max_det: int,
) -> NDArray[np.intp]:
    """Indices of the candidates that stay, best first.

    Args:
        library: the C library.
        xyxy: (N, 4) float32, any frame.
        class_ids: (N,) int32.
        order: (n,) intp, candidates, best score first.
        iou: a box is dropped when its IoU with a kept box of its class is greater than this.
        max_det: largest number of indices returned.
    """
    xyxy, class_ids = np.ascontiguousarray(xyxy, np.float32), np.ascontiguousarray(class_ids, np.int32)
    order = np.ascontiguousarray(order)
    room, kept = np.empty((len(order), 6), np.float32), np.empty(len(order), np.intp)
    count = library.rkdeploy_nms(
        address(xyxy), address(class_ids), len(class_ids), address(order), len(order), iou, max_det, address(room),
        address(kept),
    )  # fmt: skip
    assert count >= 0, "the order names candidates"
    return kept[:count]
