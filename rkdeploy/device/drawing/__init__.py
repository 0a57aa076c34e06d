"""Drawing of detections on images of 320x240 to 4K.

`draw_detections` is the entry: boxes, rotated boxes, masks, keypoints, class maps, depth, a classifier's ranking,
labels.
"""

from __future__ import annotations

from rkdeploy.device.drawing.picture import draw_detections
from rkdeploy.device.drawing.scaling import scale_detections
from rkdeploy.device.drawing.skeletons import Limb, Skeleton

__all__ = ["Limb", "Skeleton", "draw_detections", "scale_detections"]
