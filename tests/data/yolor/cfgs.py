"""Darknet cfg files of our own, written section by section, in the dialect that YOLOR's main branch reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

SWISH = "silu"


class Cfg:
    """A cfg under construction.  Methods add sections and return the index of the last one, [net] not counted."""

    def __init__(self, width: int, height: int, nc: int, anchors: Sequence[float], scale: Callable[[int], int]) -> None:
        self.blocks = [["[net]", f"width={width}", f"height={height}", "channels=3"]]
        self.nc, self.anchors, self.scale = nc, anchors, scale

    @property
    def last(self) -> int:
        return len(self.blocks) - 2

    def add(self, kind: str, **values: object) -> int:
        self.blocks.append([f"[{kind}]", *(f"{key.rstrip('_')}={value}" for key, value in values.items())])
        return self.last

    def conv(self, filters: int, size: int, stride: int = 1, activation: str = SWISH, **more: object) -> int:
        more = {"batch_normalize": 1, "filters": self.scale(filters), "size": size, "stride": stride, "pad": 1, **more}
        return self.add("convolutional", **more, activation=activation)

    def route(self, *layers: int) -> int:
        return self.add("route", layers=",".join(map(str, layers)))

    def text(self) -> str:
        return "\n".join("\n".join([*block, ""]) for block in self.blocks)

    def stage(self, filters: int, repeats: int) -> int:
        """Half the size, then a cross-stage partial block of residual bottlenecks."""
        half = filters // 2
        self.conv(filters, 3, 2)
        self.conv(half, 1)
        self.route(-2)
        self.conv(half, 1)
        for _ in range(repeats):
            self.conv(half, 1)
            self.conv(half, 3)
            self.add("shortcut", from_=-3, activation="linear")
        self.route(-1, -(3 * repeats + 3))
        return self.conv(filters, 1)

    def pooled(self, filters: int) -> int:
        """Spatial pyramid pooling within a cross-stage partial block."""
        self.conv(filters, 1)
        self.route(-2)
        self.conv(filters, 1)
        self.conv(filters, 3)
        self.conv(filters, 1)
        for i, size in enumerate((5, 9, 13)):
            if i:
                self.route(-2 * i)
            self.add("maxpool", stride=1, size=size)
        self.route(-1, -3, -5, -6)
        self.conv(filters, 1)
        self.conv(filters, 3)
        self.route(-1, -13)
        return self.conv(filters, 1)

    def joined(self, filters: int, repeats: int) -> int:
        """Behind a join: a cross-stage partial block without residuals."""
        self.conv(filters, 1)
        self.conv(filters, 1)
        self.route(-2)
        for i in range(repeats):
            self.conv(filters, 1)
            self.conv(filters, 3)
        self.route(-1, -(2 * repeats + 2))
        return self.conv(filters, 1)

    def up(self, filters: int, lateral: int) -> int:
        self.conv(filters, 1)
        self.add("upsample", stride=2)
        self.route(lateral)
        self.conv(filters, 1)
        return self.route(-1, -3)

    def yolo(self, mask: Sequence[int]) -> int:
        return self.add(
            "yolo",
            mask=",".join(map(str, mask)),
            anchors=",  ".join(f"{a:g}" for a in self.anchors),
            classes=self.nc,
            num=len(self.anchors) // 2,
            scale_x_y=1.05,
            iou_thresh=0.213,
        )

    def heads(self, levels: Sequence[tuple[int, int]]) -> None:
        """One head a level: (index of its features, filters).  What is added before and multiplied after is learnt."""
        na = len(self.anchors) // 2 // len(levels)
        outputs = na * (5 + self.nc)
        shifts = [self.add("implicit_add", filters=self.scale(filters)) for _, filters in levels]
        controls = [self.add("implicit_mul", filters=outputs) for _ in levels]
        for i, (features, filters) in enumerate(levels):
            self.route(features)
            self.conv(filters, 3)
            self.add("shift_channels", from_=shifts[i])
            self.add("convolutional", size=1, stride=1, pad=1, filters=outputs, activation="linear")
            self.add("control_channels", from_=controls[i])
            self.yolo(range(i * na, i * na + na))


def p6(
    size: int,
    nc: int,
    anchors: Sequence[float],
    scale: Callable[[int], int],
    backbone: Sequence[tuple[int, int]] = ((128, 3), (256, 7), (384, 7), (512, 3), (640, 3)),
) -> str:
    """The structure of YOLOR-P6: four levels, strides 8 to 64."""
    cfg = Cfg(size, size, nc, anchors, scale)
    cfg.add("reorg")
    cfg.conv(64, 3)
    stages = [cfg.stage(filters, repeats) for filters, repeats in backbone]
    necks = [filters // 2 for filters, _ in backbone]
    tops = [cfg.pooled(necks[-1])]
    for filters, lateral in zip(necks[-2:0:-1], stages[-2:0:-1], strict=True):
        cfg.up(filters, lateral)
        tops.append(cfg.joined(filters, 3))
    levels = [tops[-1]]
    for filters, top in zip(necks[2:], tops[-2::-1], strict=True):
        cfg.conv(filters, 3, 2)
        cfg.route(-1, top)
        levels.append(cfg.joined(filters, 3))
    cfg.heads(list(zip(levels, (filters for filters, _ in backbone[1:]), strict=True)))
    return cfg.text()


def sections(size: int, nc: int, anchors: Sequence[float]) -> str:
    """Two levels, with the kinds of section that `p6` does not use."""
    cfg = Cfg(size, size, nc, anchors, lambda filters: filters)
    cfg.add("BatchNorm2d")
    cfg.add("convolutional", batch_normalize=1, filters=6, size=3, stride_y=2, stride_x=2, pad=1, activation="leaky")
    cfg.conv(8, 2, 2, "mish", pad=0)
    cfg.conv(8, 3, groups=4, activation="swish")
    cfg.conv(12, 1)
    wide = cfg.conv(8, 3)
    cfg.add("shortcut", from_=-2, activation="linear")  # 8 of the 12 channels are added
    cfg.add("shortcut", from_=f"-1, {wide}", weights_type="per_feature", activation="linear")
    cfg.add("silence")
    features = cfg.conv(8, 3, 2)
    cfg.add("avgpool")
    cfg.conv(4, 1, activation="leaky")
    cfg.conv(8, 1, activation="logistic")
    cfg.add("scale_channels", from_=features)
    cfg.conv(8, 1, activation="logistic")
    cfg.add("sam", from_=-2)
    cfg.add("maxpool", size=2, stride=1)
    low = cfg.add("local_avgpool", size=3, stride=1)
    cfg.add("implicit_add", filters=8)
    cfg.route(low)
    cfg.add("select_channels", from_=-2)
    cfg.add("alternate_channels", from_=-3)
    cfg.add("route_lhalf", layers="-1,-2")
    cfg.add("implicit_mul_2d", atoms=4, filters=3)
    cfg.route(-2)
    cfg.add("control_channels_2d", from_=-2)
    p3 = cfg.conv(12, 3, activation="relu")  # no activation: the dialect does not know this word
    cfg.add("maxpool", size=2, stride=2)
    p4 = cfg.conv(16, 3)
    cfg.add("convolutional", batch_normalize=0, filters=10, size="3,5", stride=1, pad=1, activation="mish")
    cfg.route(-1, p4)
    p4 = cfg.conv(16, 1)
    cfg.heads([(p3, 12), (p4, 16)])
    return cfg.text()


def top_first(size: int, nc: int, anchors: Sequence[float]) -> str:
    """Strides 32 and 16 in this order, which the dialect takes from the name of the file."""
    cfg = Cfg(size, size, nc, anchors, lambda filters: filters)
    cfg.conv(8, 3, activation="leaky")
    for filters in (8, 8, 12):
        cfg.add("maxpool", size=2, stride=2)
        cfg.conv(filters, 3, activation="leaky")
    cfg.add("maxpool", size=2, stride=2)
    lateral = cfg.conv(16, 3, activation="leaky")
    cfg.add("maxpool", size=2, stride=2)
    cfg.conv(24, 3, activation="leaky")
    cfg.add("maxpool", size=2, stride=1)
    neck = cfg.conv(16, 1, activation="leaky")
    na = len(anchors) // 4
    outputs = na * (5 + nc)
    cfg.conv(24, 3, activation="leaky")
    cfg.add("convolutional", size=1, stride=1, pad=1, filters=outputs, activation="linear")
    cfg.yolo(range(na, 2 * na))
    cfg.route(neck)
    cfg.conv(8, 1, activation="leaky")
    cfg.add("upsample", stride=2)
    cfg.route(-1, lateral)
    cfg.conv(16, 3, activation="leaky")
    cfg.add("convolutional", size=1, stride=1, pad=1, filters=outputs, activation="linear")
    cfg.yolo(range(na))
    return cfg.text()
