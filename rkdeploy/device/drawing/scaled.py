"""Drawing on a smaller copy of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from rkdeploy.device.drawing.picture import draw_detections
from rkdeploy.device.drawing.scaling import scale_detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rkdeploy.device.postprocess.detections import Detections


def draw_scaled(
    image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str], max_side_px: int
) -> NDArray[np.uint8]:
    """A copy of an image with its detections, scaled down first if it is large: lines and letters keep their size.

    Args:
        image: (H, W, 3) uint8 BGR.
        detections: in its pixels.
        class_names: of the contract.
        max_side_px: limit of the longer side of the copy.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    height, width = image.shape[:2]
    scale = max_side_px / max(height, width)
    if scale < 1:
        small_wh = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(cv2.resize(image, small_wh), np.uint8)
        detections = scale_detections(detections, (height, width), (small_wh[1], small_wh[0]))
    return draw_detections(image, detections, class_names)
