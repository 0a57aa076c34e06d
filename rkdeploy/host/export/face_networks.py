"""RetinaFace's networks as nodes: a pyramid on MobileNet or ResNet-50, and the light chains "slim" and "RFB", which
UltraFace has without landmarks.

Sources: models/retinaface.py and models/net.py of biubug6/Pytorch_Retinaface and of
biubug6/Face-Detector-1MB-with-landmark, models/net_slim.py and models/net_rfb.py of the latter,
vision/nn/mb_tiny*.py and vision/ssd/mb_tiny*_fd.py of Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, and
torchvision's ResNet, in inference mode.  A state dict has no classes: a Sequential shows by its weights what is a
convolution and what a BatchNorm, and strides are fixed by the tables below.
"""

from __future__ import annotations

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.typed_modules import batch_norm, square_convolution, weight_shape, without_weights
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.pooling import max_pool, resize_nearest
from rkdeploy.host.export.prior_heads import PriorLevel

_EPS = 1e-5
_MOBILE_STRIDES = {"stage1": (2, 1, 2, 1, 2, 1), "stage2": (2, 1, 1, 1, 1, 1), "stage3": (2, 1)}
_CHAIN_STRIDES = (2, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1)
"""Of conv1 to conv13."""
_CHAIN_LEVELS = {8: 0, 11: 1, 13: 2}
_RFB_DILATIONS = {"branch0": 2, "branch1": 3, "branch2": 5}
"""Of the last convolution of each branch."""


class FaceNetwork:
    """One network under construction."""

    def __init__(self, builder: GraphBuilder, root: Module, slope: float) -> None:
        """Prepare the network.

        Args:
            builder: the graph.
            root: the state dict.
            slope: of the activations below zero; the heads and ResNet have ReLU.
        """
        self._builder = builder
        self._root = root
        self._slope = slope

    def levels(self, image: Value) -> list[PriorLevel]:
        """The raw tensors of each level, finest first."""
        if "body" in self._root.children:
            return self._pyramid(image)
        return self._chain(image)

    def _pyramid(self, image: Value) -> list[PriorLevel]:
        """A backbone, a feature pyramid, a context module (SSH) and three 1x1 convolutions per level."""
        body, fpn = self._root.child("body"), self._root.child("fpn")
        features = self._resnet(body, image) if "layer4" in body.children else self._mobilenet(body, image)
        first, second, third = (
            self._sequence(fpn.child(f"output{i}"), value, slope=self._neck_slope())
            for i, value in enumerate(features, 1)
        )
        second = self._sequence(fpn.child("merge2"), self._sum(fpn, second, third), slope=self._neck_slope())
        first = self._sequence(fpn.child("merge1"), self._sum(fpn, first, second), slope=self._neck_slope())
        levels = []
        for number, value in enumerate((first, second, third)):
            context = self._ssh(self._root.child(f"ssh{number + 1}"), value)
            boxes, scores, landmarks = (
                self._conv(self._root.child(name).child(str(number)).child("conv1x1"), context)
                for name in ("BboxHead", "ClassHead", "LandmarkHead")
            )
            levels.append(PriorLevel(8 << number, boxes, scores, landmarks))
        return levels

    def _chain(self, image: Value) -> list[PriorLevel]:
        """A chain of separable convolutions, read at four places."""
        value, features = image, {}
        modules, last, heads = _chain_parts(self._root)
        for number, (stride, module) in enumerate(zip(_CHAIN_STRIDES, modules, strict=True), 1):
            is_rfb = "branch0" in module.children
            value = self._rfb(module, value) if is_rfb else self._sequence(module, value, stride)
            if number in _CHAIN_LEVELS:
                features[_CHAIN_LEVELS[number]] = value
        value = self._conv(last.child("0"), value, slope=0.0)
        features[3] = self._activated(last.path, self._sequence(last.child("2"), value, 2, last=False), 0.0)
        levels = []
        for number, feature in sorted(features.items()):
            boxes, scores, *landmarks = (self._branch(name, number, feature) for name in heads)
            levels.append(PriorLevel(8 << number, boxes, scores, landmarks[0] if landmarks else None))
        return levels

    def _branch(self, name: str, number: int, value: Value) -> Value:
        """One head: a separable convolution, or on the last level a plain one."""
        module = self._root.child(name).child(str(number))
        return self._conv(module, value) if "weight" in module.tensors else self._sequence(module, value, last=False)

    def _mobilenet(self, body: Module, value: Value) -> list[Value]:
        outputs = []
        for name, strides in _MOBILE_STRIDES.items():
            stage = body.child(name)
            if list(stage.children) != [str(i) for i in range(len(strides))]:
                raise GraphError(f'"{stage.path}" has {len(stage.children)} blocks, expected {len(strides)}.')
            for number, stride in enumerate(strides):
                value = self._sequence(stage.child(str(number)), value, stride, slope=self._slope)
            outputs.append(value)
        return outputs

    def _resnet(self, body: Module, image: Value) -> list[Value]:
        value = self._conv(body.child("conv1"), image, body.child("bn1"), stride=2, slope=0.0)
        pool = without_weights(body, "maxpool", "MaxPool2d", kernel_size=3, stride=2, padding=1)
        value = max_pool(self._builder, pool, value)
        outputs = []
        for number in range(1, 5):
            for index, block in enumerate(body.child(f"layer{number}").children.values()):
                value = self._bottleneck(block, value, 2 if number > 1 and index == 0 else 1)
            outputs.append(value)
        return outputs[1:]

    def _bottleneck(self, block: Module, value: Value, stride: int) -> Value:
        """relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + downsample(x)); the 3x3 one has the stride."""
        inner = value
        for number in (1, 2, 3):
            inner = self._conv(
                block.child(f"conv{number}"),
                inner,
                block.child(f"bn{number}"),
                stride=stride if number == 2 else 1,
                slope=0.0 if number < 3 else None,
            )
        if "downsample" in block.children:
            aside = block.child("downsample")
            value = self._conv(aside.child("0"), value, aside.child("1"), stride=stride)
        return self._activated(block.path, self._builder.elementwise("Add", block.path, inner, value), 0.0)

    def _ssh(self, module: Module, value: Value) -> Value:
        """relu(cat(conv3(x), conv5(x), conv7(x))), the larger ones as chains of 3x3."""
        slope = self._neck_slope()
        first = self._sequence(module.child("conv5X5_1"), value, slope=slope)
        parts = [
            self._sequence(module.child("conv3X3"), value, last=False),
            self._sequence(module.child("conv5X5_2"), first, last=False),
            self._sequence(
                module.child("conv7x7_3"), self._sequence(module.child("conv7X7_2"), first, slope=slope), last=False
            ),
        ]
        return self._activated(module.path, self._builder.concat(module.path, parts, 1), 0.0)

    def _rfb(self, module: Module, value: Value) -> Value:
        """relu(linear(cat(branches(x))) + shortcut(x)): branches of growing dilation; the scale of the sum is 1."""
        branches = []
        for name, dilation in _RFB_DILATIONS.items():
            steps = list(module.child(name).children.values())
            inner = value
            for number, step in enumerate(steps):
                is_last = number == len(steps) - 1
                # The first and the last have no ReLU.
                slope = 0.0 if number and not is_last else None
                norm = step.child("bn")
                inner = self._conv(step.child("conv"), inner, norm, slope=slope, dilation=dilation if is_last else 1)
            branches.append(inner)
        joined = self._builder.concat(module.path, branches, 1)
        linear, short = (
            self._conv(module.child(name).child("conv"), given, module.child(name).child("bn"))
            for name, given in (("ConvLinear", joined), ("shortcut", value))
        )
        return self._activated(module.path, self._builder.elementwise("Add", module.path, linear, short), 0.0)

    def _sequence(
        self, module: Module, value: Value, stride: int = 1, *, slope: float = 0.0, last: bool = True
    ) -> Value:
        """Convolutions with their BatchNorms and activations; the first has the stride.

        Args:
            module: the Sequential, whose activations have no weights and so no names.
            value: (1, C, H, W).
            stride: of the first convolution.
            slope: of the activations below zero.
            last: whether the last convolution has an activation.
        """
        steps = list(module.children.values())
        while steps:
            conv = steps.pop(0)
            norm = steps.pop(0) if steps and "running_mean" in steps[0].tensors else None
            value = self._conv(conv, value, norm, stride=stride, slope=slope if steps or last else None)
            stride = 1
        return value

    def _conv(
        self,
        conv: Module,
        value: Value,
        norm: Module | None = None,
        *,
        stride: int = 1,
        slope: float | None = None,
        dilation: int = 1,
    ) -> Value:
        """A convolution that keeps the grid but for its stride, its BatchNorm, and its activation if it has a slope."""
        out, inputs, kernel, _ = weight_shape(conv)
        groups = out if inputs == 1 and value.channels == out and out > 1 else 1
        typed = square_convolution(conv, stride, groups)
        pad = dilation * (kernel // 2)
        made = convolution(
            self._builder,
            typed,
            value,
            batch_norm(norm, _EPS) if norm is not None else None,
            padding=(pad, pad),
            dilation=(dilation, dilation),
        )
        return made if slope is None else self._activated(conv.path, made, slope)

    def _activated(self, path: str, value: Value, slope: float) -> Value:
        if slope == 0.0:
            return self._builder.add("Relu", path, [value], value.shape)
        return self._builder.add("LeakyRelu", path, [value], value.shape, {"alpha": slope})

    def _neck_slope(self) -> float:
        """Of the pyramid and the context modules: ReLU behind wide backbones."""
        return 0.0 if "layer4" in self._root.child("body").children else self._slope

    def _sum(self, fpn: Module, fine: Value, coarse: Value) -> Value:
        """The finer level and the coarser one, enlarged to its size."""
        height, width = fine.shape[2:]
        enlarged = resize_nearest(self._builder, fpn.path, coarse, (height, width))
        return self._builder.elementwise("Add", fpn.path, fine, enlarged)


def _chain_parts(root: Module) -> tuple[list[Module], Module, tuple[str, ...]]:
    """The layers of a chain, its last level, and the names of its heads: boxes, scores and perhaps landmarks."""
    if "base_net" in root.children:
        layers = list(root.child("base_net").children.values())
        return layers, root.child("extras").child("0"), ("regression_headers", "classification_headers")
    layers = [root.child(f"conv{number}") for number in range(1, len(_CHAIN_STRIDES) + 1)]
    return layers, root.child("conv14"), ("loc", "conf", "landm")
