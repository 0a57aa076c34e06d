"""Networks of Yolo-FastestV2 and FastestDet as nodes: ShuffleNetV2 with a light pyramid and two branches per level, or
with one level of all stages and three branches.

Sources: model/backbone/shufflenetv2.py, model/fpn.py and model/detector.py of dog-qiuqiu/Yolo-FastestV2,
module/detector.py and module/custom_layers.py of dog-qiuqiu/FastestDet, in inference mode.  A state dict has no classes
and no activations: where these stand is fixed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.typed_modules import batch_norm, square_convolution, weight_shape, without_weights
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.csp_blocks import Kernel, folded
from rkdeploy.host.export.heads import AnchorMap
from rkdeploy.host.export.pooling import average_pool, max_pool, resize_nearest

ANCHORS = 3
"""Of a cell."""
STRIDES = (16, 32)
_EPS = 1e-5
_BOX = 4
_DOUBLED = np.array([2.0, 2.0, 1.0, 1.0])
"""Factors of FastestDet's raw box: tanh(x) is 2 sigmoid(2 x) - 1."""
_STAGES = ("stage2", "stage3", "stage4")
_BRANCH_ACTIVE = (True, False, True, False)
"""Activations behind the convolutions of a head's branch."""


class ShuffleNetwork:
    """One network of Yolo-FastestV2 under construction."""

    def __init__(self, builder: GraphBuilder, root: Module) -> None:
        self._builder = builder
        self._root = root

    def maps(self, image: Value) -> list[AnchorMap]:
        """The raw map of each level, finest first: box, objectness and classes of each anchor side by side."""
        _, fine, coarse = self._backbone(self._root.child("backbone"), image)
        fpn = self._root.child("fpn")
        joined = self._builder.concat(
            fpn.path, [resize_nearest(self._builder, fpn.path, coarse, (fine.shape[2], fine.shape[3])), fine], 1
        )
        maps = []
        for number, value in ((2, joined), (3, coarse)):
            feature = self._chain(fpn.child(f"conv1x1_{number}"), value, (True,))
            boxes, classes = (
                self._chain(fpn.child(f"{name}_head_{number}").child("block"), feature, _BRANCH_ACTIVE)
                for name in ("reg", "cls")
            )
            maps.append(self._level(f"level{number}", boxes, classes))
        return maps

    def single_map(self, image: Value) -> AnchorMap:
        """The raw map of FastestDet: box, objectness and classes of each cell, the centers' numbers doubled.

        SPP is relu(x + out(cat(s1(x), s2(x), s3(x)))), with x = conv(cat(pool(p1), p2, up(p3))).
        """
        fine, middle, coarse = self._backbone(self._root.child("backbone"), image)
        pool = without_weights(self._root, "avg_pool", "AvgPool2d", kernel_size=3, stride=2, padding=1)
        enlarged = resize_nearest(self._builder, "upsample", coarse, (middle.shape[2], middle.shape[3]))
        pooled = average_pool(self._builder, pool, fine)
        spp, head = self._root.child("SPP"), self._root.child("detect_head")
        value = self._builder.concat(spp.path, [pooled, middle, enlarged], 1)
        value = self._chain(spp.child("Conv1x1").child("conv1x1"), value, (True,))
        parts = [self._chain(spp.child(f"S{count}"), value, (True,) * count) for count in (1, 2, 3)]
        joined = self._chain(spp.child("output"), self._builder.concat(spp.path, parts, 1), (False,))
        summed = self._builder.elementwise("Add", spp.path, value, joined)
        value = self._builder.add("Relu", spp.path, [summed], summed.shape)
        value = self._chain(head.child("conv1x1").child("conv1x1"), value, (True,))
        branches = [head.child(f"{name}_layers").child("conv5x5") for name in ("reg", "obj", "cls")]
        features = [self._conv(*self._first(branch, value), active=True) for branch in branches]
        kernels = []
        for branch in branches:
            *_, conv, norm = branch.children.values()
            kernels.append(folded(conv, batch_norm(norm, _EPS)))
        box, bias = kernels[0]
        doubled = (box * _DOUBLED[:, None, None, None], bias * _DOUBLED)
        return self._side_by_side("detect_head", features, list(enumerate((doubled, *kernels[1:]))), branches[0])

    def _first(self, branch: Module, value: Value) -> tuple[Module, Value, Module]:
        """The depthwise convolution of a branch, its input and its BatchNorm."""
        steps = list(branch.children.values())
        if len(steps) != 4:
            raise GraphError(f'"{branch.path}" has {len(steps)} layers with weights, expected two convolutions.')
        return steps[0], value, steps[1]

    def _side_by_side(
        self, path: str, features: Sequence[Value], rows: Sequence[tuple[int, Kernel]], like: Module
    ) -> AnchorMap:
        """One 1x1 convolution of several tensors.

        Args:
            path: of the convolution.
            features: the tensors, (1, C, H, W) each.
            rows: in the order of the channels, which tensor is read, and its weights and biases.
            like: branch whose last convolution names it.
        """
        if any(kernel.shape[2:] != (1, 1) for _, (kernel, _) in rows):
            raise GraphError(f'"{path}" ends in convolutions that are not 1x1.')
        starts = np.cumsum([0, *(feature.channels for feature in features)])
        weight = np.zeros((sum(len(kernel) for _, (kernel, _) in rows), int(starts[-1]), 1, 1))
        at = 0
        for source, (kernel, _) in rows:
            weight[at : at + len(kernel), starts[source] : starts[source + 1]] = kernel
            at += len(kernel)
        conv = next((c for c in reversed(list(like.children.values())) if "running_mean" not in c.tensors), like)
        joined = self._builder.concat(path, list(features), 1)
        bias = np.concatenate([bias for _, (_, bias) in rows])
        value = convolution(self._builder, square_convolution(conv, 1), joined, weight=weight, bias=bias)
        return AnchorMap(path, value)

    def _backbone(self, backbone: Module, image: Value) -> tuple[Value, Value, Value]:
        """The three stages of ShuffleNetV2."""
        value = self._chain(backbone.child("first_conv"), image, (True,), stride=2)
        pool = without_weights(backbone, "maxpool", "MaxPool2d", kernel_size=3, stride=2, padding=1)
        value = max_pool(self._builder, pool, value)
        outputs = []
        for name in _STAGES:
            for block in backbone.child(name).children.values():
                value = self._block(block, value)
            outputs.append(value)
        return outputs[0], outputs[1], outputs[2]

    def _block(self, block: Module, value: Value) -> Value:
        """cat(even(x), main(odd(x))) of the channels, or with stride 2 cat(proj(x), main(x))."""
        strided = "branch_proj" in block.children
        if strided:
            aside = self._chain(block.child("branch_proj"), value, (False, True), stride=2)
            inner = value
        else:
            aside, inner = self._even_and_odd(block.path, value)
        main = self._main(block.child("branch_main"), inner, 2 if strided else 1)
        return self._builder.concat(block.path, [aside, main], 1)

    def _main(self, module: Module, value: Value, stride: int) -> Value:
        """relu(pw(dw(relu(pw(x))))); the depthwise one has the stride."""
        steps = list(module.children.values())
        if len(steps) != 6:
            raise GraphError(f'"{module.path}" has {len(steps)} layers with weights, expected three convolutions.')
        value = self._conv(steps[0], value, steps[1], active=True)
        value = self._conv(steps[2], value, steps[3], stride=stride)
        return self._conv(steps[4], value, steps[5], active=True)

    def _even_and_odd(self, path: str, value: Value) -> tuple[Value, Value]:
        """The channels of even number, and those of odd number."""
        n, channels, height, width = value.shape
        if channels % 2:
            raise GraphError(f'"{path}" gets {channels} channels, expected an even number.')
        pairs = self._builder.reshape(path, value, (n, channels // 2, 2, height * width))
        turned = self._builder.transpose(path, pairs, (0, 2, 1, 3))
        sorted_ones = self._builder.reshape(path, turned, value.shape)
        even, odd = self._builder.split(path, sorted_ones, [channels // 2, channels // 2], 1)
        return even, odd

    def _chain(self, module: Module, value: Value, active: Sequence[bool], stride: int = 1) -> Value:
        """Convolutions with their BatchNorms; the first has the stride.

        Args:
            module: the Sequential, whose activations have no weights and so no names.
            value: (1, C, H, W).
            active: whether a ReLU is behind each.
            stride: of the first.
        """
        steps = list(module.children.values())
        if len(steps) != 2 * len(active):
            raise GraphError(f'"{module.path}" has {len(steps)} layers with weights, expected {2 * len(active)}.')
        for place, is_active in enumerate(active):
            value = self._conv(
                steps[2 * place], value, steps[2 * place + 1], stride=1 if place else stride, active=is_active
            )
        return value

    def _conv(self, conv: Module, value: Value, norm: Module, *, stride: int = 1, active: bool = False) -> Value:
        """A convolution with its BatchNorm, and a ReLU."""
        out, inputs, _, _ = weight_shape(conv)
        groups = out if inputs == 1 and value.channels == out and out > 1 else 1
        made = convolution(
            self._builder, square_convolution(conv, stride, groups), value, batch_norm(norm, _EPS)
        )  # fmt: skip
        return self._builder.add("Relu", conv.path, [made], made.shape) if active else made

    def _level(self, path: str, boxes: Value, classes: Value) -> AnchorMap:
        """One 1x1 convolution of both branches, whose channels are those of the anchors one after the other."""
        parts = [self._root.child(f"output_{name}_layers") for name in ("reg", "obj", "cls")]
        (box, box_bias), (objectness, objectness_bias), scores = (folded(part, None) for part in parts)
        if len(box) != _BOX * ANCHORS or len(objectness) != ANCHORS:
            raise GraphError("The last convolutions are not those of three anchors.")
        rows: list[tuple[int, Kernel]] = []
        for anchor in range(ANCHORS):
            own = slice(_BOX * anchor, _BOX * (anchor + 1))
            rows.append((0, (box[own], box_bias[own])))
            rows.append((1, (objectness[[anchor]], objectness_bias[[anchor]])))
            rows.append((1, scores))
        return self._side_by_side(path, (boxes, classes), rows, parts[0])
