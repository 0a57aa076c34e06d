"""Emitters for the blocks of YOLOv9's own code, in addition to those that Ultralytics' YOLOv9 shares with it.

Formulas are those of the forward passes in models/common.py of WongKinYiu/yolov9, in inference mode.
"""

from __future__ import annotations

from rkdeploy.host.export.csp_blocks import CSP_BLOCKS
from rkdeploy.host.export.emission import Emitter, one
from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS
from rkdeploy.host.export.yolov7_blocks import YOLOV7_BLOCKS

_TWO_STEPS, _CSP = YOLOV5_BLOCKS["Bottleneck"], YOLOV5_BLOCKS["C3"]

YOLOV9_BLOCKS: dict[str, Emitter] = {
    **{name: YOLOV7_BLOCKS[name] for name in ("MP", "SP", "ReOrg", "Shortcut", "SPPCSPC", "Res")},
    "Silence": lambda _, m, v: one(m, v),
    "RepConvN": CSP_BLOCKS["RepConv"],
    **dict.fromkeys(("BottleneckBase", "RBottleneckBase", "RepNRBottleneckBase", "RepNBottleneck"), _TWO_STEPS),
    "RepNRes": YOLOV7_BLOCKS["Res"],
    **dict.fromkeys(("CSP", "CSPBase", "RepNCSP"), _CSP),
}
