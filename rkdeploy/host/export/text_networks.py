"""Networks of plate recognizers as nodes: LPRNet, and the CRNN without recurrence of we0091234.

Sources: model/LPRNet.py of sirius-ai/LPRNet_Pytorch; plateNet.py and colorNet.py of we0091234/crnn_plate_recognition,
all in inference mode.  Their checkpoints are state dicts: layers without weights stand in the tables below.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.typed_modules import batch_norm, typed, weight_shape, without_weights
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import batch_norm_scale, convolution
from rkdeploy.host.export.pooling import average_pool, max_pool

_EPS = 1e-5


class LprNetwork:
    """LPRNet under construction.

    Its three-dimensional pools take every second, then every fourth channel.  Here these channels come first, so that
    the pools read a part of the tensor that lies in one piece; the order of the others does not matter, since the
    container's weights are brought into the same order.
    """

    def __init__(self, builder: GraphBuilder, root: Module) -> None:
        self._builder = builder
        self._root = root
        self._backbone = root.child("backbone")

    def scores(self, image: Value) -> Value:
        """(1, K, 1, T) of an image (1, 3, 24, 94)."""
        first = self._conv("0", image, "1")
        value = self._block("4", self._pool("3", first, (1, 1)), "5", every=2)
        second = value
        value = self._pool("7", self._leading(value, 2), (1, 2))
        value = self._block("8", value, "9")
        third = self._block("11", value, "12", every=4)
        value = self._pool("14", self._leading(third, 4), (1, 2))
        value = self._conv("16", value, "17")
        last = self._conv("20", value, "21")
        parts = [
            self._normalized("0", self._averaged("0", first, (5, 5), (5, 5))),
            self._normalized("6", self._averaged("6", second, (5, 5), (5, 5))),
            self._normalized("13", self._averaged("13", third, (4, 10), (4, 2))),
            self._normalized("22", last),
        ]
        joined = self._builder.concat("container", parts, 1)
        orders = [np.arange(first.channels), _strided_first(second.channels, 2), _strided_first(third.channels, 4)]
        starts = np.cumsum([0, *(len(order) for order in orders)])
        columns = [start + order for start, order in zip(starts, orders, strict=False)]
        container = typed(self._root.child("container").child("0"), "Conv2d")
        kept = np.concatenate((*columns, starts[-1] + np.arange(last.channels)))
        weight = container.array("weight")
        if weight.ndim != 4 or weight.shape[1] != len(kept):
            raise GraphError(f'"{container.path}.weight" has shape {weight.shape}, expected {len(kept)} inputs.')
        scores = convolution(self._builder, container, joined, weight=weight[:, kept], padding=(0, 0))
        return self._builder.add(
            "ReduceMean",
            "logits",
            [scores],
            (1, scores.channels, 1, scores.shape[3]),
            {"axes": [2], "keepdims": 1},
        )

    def _conv(self, name: str, value: Value, norm: str) -> Value:
        """A convolution without padding, its BatchNorm and ReLU."""
        conv, known = typed(self._backbone.child(name), "Conv2d"), batch_norm(self._backbone.child(norm), _EPS)
        return self._relu(name, convolution(self._builder, conv, value, known, padding=(0, 0)))

    def _block(self, name: str, value: Value, norm: str, every: int = 1) -> Value:
        """small_basic_block: four convolutions with ReLU between, a BatchNorm and ReLU; every n-th channel first."""
        steps = self._backbone.child(name).child("block")
        for index in ("0", "2", "4"):
            height, width = weight_shape(steps.child(index))[2:]
            conv = typed(steps.child(index), "Conv2d")
            made = convolution(self._builder, conv, value, padding=(height // 2, width // 2))
            value = self._relu(f"{name}.{index}", made)
        last = typed(steps.child("6"), "Conv2d")
        scale, shift = batch_norm_scale(batch_norm(self._backbone.child(norm), _EPS))
        weight, bias = last.array("weight").astype(np.float64), last.array("bias").astype(np.float64)
        order = _strided_first(len(weight), every)
        weight, bias = (weight * scale[:, None, None, None])[order], (bias * scale + shift)[order]
        return self._relu(name, convolution(self._builder, last, value, weight=weight, bias=bias, padding=(0, 0)))

    def _leading(self, value: Value, every: int) -> Value:
        """The channels that come first: every n-th."""
        kept = -(-value.channels // every)
        return self._builder.split(f"{value.name}.leading", value, (kept, value.channels - kept), 1)[0]

    def _pool(self, name: str, value: Value, stride: tuple[int, int]) -> Value:
        pool = without_weights(self._backbone, name, "MaxPool2d", kernel_size=(3, 3), stride=stride)
        return max_pool(self._builder, pool, value)

    def _averaged(self, name: str, value: Value, kernel: tuple[int, int], stride: tuple[int, int]) -> Value:
        pool = without_weights(self._root, f"context{name}", "AvgPool2d", kernel_size=kernel, stride=stride)
        return average_pool(self._builder, pool, value)

    def _normalized(self, name: str, value: Value) -> Value:
        """The value over the mean of its squares."""
        path = f"context{name}"
        square = self._builder.elementwise("Mul", path, value, value)
        means = self._builder.add("GlobalAveragePool", path, [square], (1, value.channels, 1, 1))
        # Not as a ReduceMean over three axes, which OpenCV 4.11 computes wrongly.
        share = self._builder.constant(
            f"{path}.share", np.full((1, value.channels, 1, 1), 1 / value.channels, np.float32)
        )
        mean = self._builder.add("Conv", path, [means, share], (1, 1, 1, 1), {"kernel_shape": [1, 1]})
        return self._builder.elementwise("Div", path, value, mean)

    def _relu(self, name: str, value: Value) -> Value:
        return self._builder.add("Relu", f"backbone.{name}", [value], value.shape)


class PlateNetwork:
    """The plate network of we0091234 under construction: convolutions with pools where a number is missing."""

    def __init__(self, builder: GraphBuilder, root: Module) -> None:
        self._builder = builder
        self._root = root

    def scores(self, image: Value) -> tuple[Value, Value | None]:
        """(1, K, 1, T), and (1, colors, 1, 1) of networks with a color, of an image (1, 3, 48, 168)."""
        features = self._features(image)
        pool = without_weights(self._root, "loc", "MaxPool2d", kernel_size=(5, 2), stride=(1, 1), padding=(0, 1))
        line = max_pool(self._builder, pool, features)
        scores = convolution(self._builder, typed(self._root.child("newCnn"), "Conv2d"), line, padding=(0, 0))
        return scores, self._color(features)

    def _features(self, value: Value) -> Value:
        """Convolutions of 5x5 without, then of 3x3 with padding, each with its BatchNorm and ReLU; pools between."""
        feature = self._root.child("feature")
        place = 0
        while str(place) in feature.children or str(place + 1) in feature.children:
            if str(place) not in feature.children:
                pool = without_weights(feature, str(place), "MaxPool2d", kernel_size=3, stride=2, ceil_mode=True)
                value = max_pool(self._builder, pool, value)
                place += 1
                continue
            padding = (0, 0) if place == 0 else (1, 1)
            value = self._conv(feature.child(str(place)), feature.child(str(place + 1)), value, padding)
            place += 3
        return value

    def _color(self, features: Value) -> Value | None:
        """The mean of the color's scores over the image; with a convolution of stride 2 before them in newer files."""
        if "color_classifier" not in self._root.children:
            return None
        value = features
        if "conv1" in self._root.children:
            conv = typed(self._root.child("conv1"), "Conv2d", stride=(2, 2))
            value = self._conv(conv, self._root.child("bn1"), value, (0, 0))
        last, norm = (
            typed(self._root.child("color_classifier"), "Conv2d"),
            batch_norm(self._root.child("color_bn"), _EPS),
        )
        scores = convolution(self._builder, last, value, norm, padding=(0, 0))
        return self._builder.add("GlobalAveragePool", "gap", [scores], (1, scores.channels, 1, 1))

    def _conv(self, conv: Module, norm: Module, value: Value, padding: tuple[int, int]) -> Value:
        known = conv if conv.class_name == "Conv2d" else typed(conv, "Conv2d")
        made = convolution(self._builder, known, value, batch_norm(norm, _EPS), padding=padding)
        return self._builder.add("Relu", conv.path, [made], made.shape)


def _strided_first(channels: int, every: int) -> NDArray[np.intp]:
    """Numbers of the channels: every n-th first, then the others."""
    numbers = np.arange(channels)
    return np.concatenate((numbers[::every], numbers[numbers % every != 0])) if every > 1 else numbers
