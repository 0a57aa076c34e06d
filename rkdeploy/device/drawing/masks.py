"""Instance masks: a translucent fill and a crisp rim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing.colors import Bgr, edge_color
from rkdeploy.device.drawing.fills import eroded, paint, tint
from rkdeploy.device.drawing.pen import Pen
from rkdeploy.device.postprocess.detections import InstanceMask

_FILL = 0.4


def draw_mask(drawn: NDArray[np.uint8], mask: InstanceMask, color: Bgr, pen: Pen) -> None:
    """Fill one object's pixels and mark their rim, in place.

    The rim lies inside of the mask and consists of its pixels, not of a smoothed outline: it shows the model's output
    exactly, holes and single pixels included, and takes the same time for any shape.
    """
    if mask.pixels.size == 0:
        return
    covered = np.ascontiguousarray(mask.pixels).view(np.uint8)
    height, width = covered.shape
    region = drawn[mask.top : mask.top + height, mask.left : mask.left + width]
    rim = eroded(covered, pen.edge_px)
    inner = eroded(rim, max(1, round(pen.line_px * 0.7)))
    tint(region, inner, color, _FILL)
    paint(region, rim - inner, color)
    paint(region, covered - rim, edge_color(color))
