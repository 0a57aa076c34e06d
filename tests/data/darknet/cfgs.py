"""Darknet cfg files of our own, in darknet's dialect: the forms of its published networks, narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.data.yolor.cfgs import Cfg

ANCHORS_TWO = (10, 14, 23, 27, 37, 58, 41, 82, 75, 99, 124, 109)
ANCHORS_THREE = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 110, 92, 100, 120, 90, 110, 150)


class Darknet(Cfg):
    """A cfg under construction."""

    def __init__(self, width: int, height: int, nc: int, anchors: Sequence[float], **net: object) -> None:
        super().__init__(width, height, nc, anchors, lambda filters: filters)
        self.blocks[0] += [f"{key}={value}" for key, value in net.items()]

    def conv(self, filters: int, size: int, stride: int = 1, activation: str = "leaky", **more: object) -> int:
        return super().conv(filters, size, stride, activation, **more)

    def head(self, mask: Sequence[int], **more: object) -> int:
        """The last convolution of a level and its [yolo]."""
        filters = len(mask) * (5 + self.nc)
        activation = "logistic" if more.get("new_coords") else "linear"
        self.add("convolutional", size=1, stride=1, pad=1, filters=filters, activation=activation)
        anchors = ",  ".join(f"{a:g}" for a in self.anchors)
        number = len(self.anchors) // 2
        return self.add(
            "yolo", mask=",".join(map(str, mask)), anchors=anchors, classes=self.nc, num=number, jitter=0.3,
            ignore_thresh=0.7, truth_thresh=1, random=1, **more,
        )  # fmt: skip

    def spp(self) -> int:
        """Maxima of 5, 9 and 13 cells next to their input."""
        self.add("maxpool", stride=1, size=5)
        self.route(-2)
        self.add("maxpool", stride=1, size=9)
        self.route(-4)
        self.add("maxpool", stride=1, size=13)
        return self.route(-1, -3, -5, -6)

    def residual(self, filters: int, activation: str) -> int:
        """Two convolutions and a shortcut."""
        self.conv(filters // 2, 1, activation=activation)
        self.conv(filters, 3, activation=activation)
        return self.add("shortcut", from_=-3, activation="linear")


def v3_tiny(width: int, height: int, nc: int) -> str:
    """YOLOv3-tiny: max pools, the last of stride 1; coarse level first."""
    cfg = Darknet(width, height, nc, ANCHORS_TWO)
    for filters in (4, 6, 8, 10):
        cfg.conv(filters, 3)
        cfg.add("maxpool", size=2, stride=2)
    fine = cfg.conv(12, 3)
    cfg.add("maxpool", size=2, stride=2)
    cfg.conv(14, 3)
    cfg.add("maxpool", size=2, stride=1)
    cfg.conv(16, 3)
    neck = cfg.conv(8, 1)
    cfg.conv(14, 3)
    cfg.head((3, 4, 5))
    cfg.route(neck)
    cfg.conv(6, 1)
    cfg.add("upsample", stride=2)
    cfg.route(-1, fine)
    cfg.conv(12, 3)
    cfg.head((0, 1, 2))
    return cfg.text()


def v3(width: int, height: int, nc: int) -> str:
    """YOLOv3: residual blocks, three levels, coarse first."""
    cfg = Darknet(width, height, nc, ANCHORS_THREE)
    cfg.conv(4, 3)
    stages = []
    for filters in (6, 8, 10, 12, 14):
        cfg.conv(filters, 3, 2)
        stages.append(cfg.residual(filters, "leaky"))
    neck = cfg.conv(8, 1)
    cfg.conv(12, 3)
    cfg.head((6, 7, 8))
    for lateral, mask in ((stages[3], (3, 4, 5)), (stages[2], (0, 1, 2))):
        cfg.route(neck)
        cfg.conv(6, 1)
        cfg.add("upsample", stride=2)
        cfg.route(-1, lateral)
        neck = cfg.conv(8, 1)
        cfg.conv(12, 3)
        cfg.head(mask)
    return cfg.text()


def v4_tiny(width: int, height: int, nc: int) -> str:
    """YOLOv4-tiny: routes that take the second half of the channels, scale_x_y 1.05."""
    cfg = Darknet(width, height, nc, ANCHORS_TWO, letter_box=1)
    cfg.conv(4, 3, 2)
    cfg.conv(8, 3, 2)
    fine = 0
    for filters in (8, 12, 16):
        start = cfg.conv(filters, 3)
        cfg.add("route", layers=-1, groups=2, group_id=1)
        cfg.conv(filters // 2, 3)
        cfg.conv(filters // 2, 3)
        cfg.route(-1, -2)
        fine = cfg.conv(filters, 1)
        cfg.route(start, -1)
        cfg.add("maxpool", size=2, stride=2)
    cfg.conv(16, 3)
    neck = cfg.conv(8, 1)
    cfg.conv(16, 3)
    cfg.head((3, 4, 5), scale_x_y=1.05, nms_kind="greedynms", beta_nms=0.6)
    cfg.route(neck)
    cfg.conv(8, 1)
    cfg.add("upsample", stride=2)
    cfg.route(-1, fine)
    cfg.conv(12, 3)
    cfg.head((1, 2, 3), scale_x_y=1.05)
    return cfg.text()


def v4(width: int, height: int, nc: int) -> str:
    """YOLOv4: Mish, SPP, a path back down, another scale_x_y on every level, fine first."""
    cfg = Darknet(width, height, nc, ANCHORS_THREE)
    cfg.conv(4, 3, activation="mish")
    stages = []
    for filters in (6, 8, 10, 12, 14):
        cfg.conv(filters, 3, 2, activation="mish")
        cfg.conv(filters // 2, 1, activation="mish")
        cfg.route(-2)
        cfg.conv(filters // 2 + filters % 2, 1, activation="mish")
        cfg.residual(filters // 2 + filters % 2, "mish")
        cfg.route(-1, -5)
        stages.append(cfg.conv(filters, 1, activation="mish"))
    cfg.conv(8, 1)
    cfg.spp()
    tops = [cfg.conv(10, 1)]
    for lateral in (stages[3], stages[2]):
        cfg.conv(8, 1)
        cfg.add("upsample", stride=2)
        cfg.route(lateral)
        cfg.conv(8, 1)
        cfg.route(-1, -3)
        tops.append(cfg.conv(10, 1))
    cfg.conv(12, 3)
    cfg.head((0, 1, 2), scale_x_y=1.2)
    features = tops[-1]
    for top, mask, gain in ((tops[1], (3, 4, 5), 1.1), (tops[0], (6, 7, 8), 1.05)):
        cfg.route(features)
        cfg.conv(10, 3, 2)
        cfg.route(-1, top)
        features = cfg.conv(10, 1)
        cfg.conv(12, 3)
        cfg.head(mask, scale_x_y=gain)
    return cfg.text()


def v7_tiny(width: int, height: int, nc: int) -> str:
    """YOLOv7-tiny: new_coords with a logistic convolution before [yolo], scale_x_y 2."""
    cfg = Darknet(width, height, nc, ANCHORS_THREE)
    cfg.conv(4, 3, 2)
    cfg.conv(6, 3, 2)
    stages = []
    for filters in (8, 10, 12, 14):
        cfg.conv(4, 1)
        cfg.route(-2)
        cfg.conv(4, 1)
        cfg.conv(4, 3)
        cfg.conv(4, 3)
        cfg.route(-1, -2, -3, -5)
        stages.append(cfg.conv(filters, 1))
        if filters != 14:
            cfg.add("maxpool", size=2, stride=2)
    tops = [cfg.conv(8, 1)]
    for lateral in (stages[2], stages[1]):
        cfg.conv(6, 1)
        cfg.add("upsample", stride=2)
        cfg.route(lateral)
        cfg.conv(6, 1)
        cfg.route(-1, -3)
        tops.append(cfg.conv(8, 1))
    more: dict[str, Any] = {"new_coords": 1, "scale_x_y": 2.0}
    cfg.conv(12, 3)
    cfg.head((0, 1, 2), **more)
    features = tops[-1]
    for top, mask in ((tops[1], (3, 4, 5)), (tops[0], (6, 7, 8))):
        cfg.route(features)
        cfg.conv(8, 3, 2)
        cfg.route(-1, top)
        features = cfg.conv(10, 1)
        cfg.conv(12, 3)
        cfg.head(mask, **more)
    return cfg.text()


def blocks(width: int, height: int, nc: int) -> str:
    """Sections that the published detectors hardly use."""
    cfg = Darknet(width, height, nc, ANCHORS_TWO)
    cfg.conv(8, 3, 2, activation="swish")
    cfg.add("convolutional", batch_normalize=1, filters=8, size=3, stride_x=2, stride_y=2, padding=1, groups=8,
            activation="relu", stopbackward=1)  # fmt: skip
    cfg.add("maxpool", size=3, stride=2)
    squeezed = cfg.conv(12, 1, activation="relu")
    cfg.add("avgpool")
    cfg.add("convolutional", filters=4, size=1, stride=1, activation="relu")
    cfg.add("convolutional", filters=12, size=1, stride=1, activation="logistic")
    cfg.add("scale_channels", from_=squeezed, activation="leaky")
    cfg.conv(10, 3, activation="mish", dilation=2)
    gate = cfg.last
    cfg.conv(10, 1, activation="logistic")
    cfg.add("sam", from_=gate)
    cfg.add("dropout", probability=0.2)
    fine = cfg.add("shortcut", from_=gate, activation="swish")
    cfg.conv(8, 3)
    cfg.add("shortcut", from_=fine, activation="relu")
    cfg.head((0, 1, 2))
    cfg.route(fine)
    cfg.add("convolutional", filters=8, size=2, stride=2, activation="tanh")
    cfg.conv(12, 3)
    cfg.head((3, 4, 5), scale_x_y=1.1)
    return cfg.text()


CFGS = {"v3_tiny": v3_tiny, "v3": v3, "v4_tiny": v4_tiny, "v4": v4, "v7_tiny": v7_tiny, "blocks": blocks}
