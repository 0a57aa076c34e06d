"""torchvision's SSDLite on MobileNetV3-Large as nodes, from the names of its weights.

Source: torchvision 0.29, models/mobilenetv3.py and models/detection/ssdlite.py, in inference mode.  A state dict has no
classes: a convolution is depthwise by its weights; strides and activations are fixed by the tables below.
"""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.checkpoint.typed_modules import batch_norm, last_convolution, square_convolution, weight_shape
from rkdeploy.host.export.activations import ACTIVATIONS
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.pooling import mean_hw
from rkdeploy.host.export.prior_heads import PriorLevel

_EPS = 1e-3
_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1)
"""Of the blocks 1 to 12 behind the first convolution."""
_PLAIN_BLOCKS = 6
"""The first ones have ReLU, the others Hardswish."""
_FIRST_STRIDE = 16


def ssdlite_levels(builder: GraphBuilder, root: Module, image: Value) -> list[PriorLevel]:
    """The raw tensors of each level, finest first.

    Args:
        builder: the graph.
        root: the state dict.
        image: (1, 3, H, W).

    Raises:
        CheckpointError, GraphError: when the weights are not those of this network.
    """
    head = root.child("head")
    levels = []
    for number, feature in enumerate(_features(builder, root.child("backbone"), image)):
        scores, boxes = (
            _branch(builder, head.child(name).child("module_list").child(str(number)), feature)
            for name in ("classification_head", "regression_head")
        )
        levels.append(PriorLevel(_FIRST_STRIDE << number, boxes, scores, None))
    return levels


def _features(builder: GraphBuilder, backbone: Module, image: Value) -> list[Value]:
    """The wide tensor inside block 13, the end of MobileNetV3, and its four further stages."""
    first, second = (numbered_steps(backbone.child("features").child(name)) for name in "01")
    if len(first) != 2 + len(_STRIDES):
        raise GraphError(f'"{backbone.path}.features.0" has {len(first)} layers, expected {2 + len(_STRIDES)}.')
    value = _step(builder, first[0], image, "Hardswish", 2)
    for number, (block, stride) in enumerate(zip(first[1:-1], _STRIDES, strict=True)):
        activation = "ReLU" if number < _PLAIN_BLOCKS else "Hardswish"
        value = _block(builder, numbered_steps(block.child("block")), value, activation, stride)
    features = [_step(builder, first[-1], value, "Hardswish")]  # the expansion of block 13
    value = _block(builder, numbered_steps(second[0]), features[0], "Hardswish", 2)
    for block in second[1:-1]:
        value = _block(builder, numbered_steps(block.child("block")), value, "Hardswish", 1)
    features.append(_step(builder, second[-1], value, "Hardswish"))
    for stage in numbered_steps(backbone.child("extra")):
        narrow, deep, wide = numbered_steps(stage)
        value = _step(builder, narrow, features[-1], "ReLU6")
        value = _step(builder, deep, value, "ReLU6", 2)
        features.append(_step(builder, wide, value, "ReLU6"))
    return features


def numbered_steps(module: Module) -> list[Module]:
    """The parts of a Sequential, or of a slice of one, by their numbers.

    Raises:
        GraphError: when a part has another name, or there is none.
    """
    if not module.children or not all(name.isdecimal() for name in module.children):
        raise GraphError(f'"{module.path}" has the parts {", ".join(module.children) or "none"}, expected numbers.')
    return [part for _, part in sorted(module.children.items(), key=lambda item: int(item[0]))]


def _block(builder: GraphBuilder, steps: Sequence[Module], value: Value, activation: str, stride: int) -> Value:
    """An inverted residual: expansion, depthwise convolution, excitation, projection; each where there is one."""
    inner = value
    for step in steps[:-1]:
        if "fc1" in step.children:
            inner = _excitation(builder, step, inner)
        else:
            inner = _step(builder, step, inner, activation, stride if _is_depthwise(step, inner) else 1)
    inner = _step(builder, steps[-1], inner)
    return builder.elementwise("Add", steps[-1].path, inner, value) if inner.shape == value.shape else inner


def _excitation(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """X * hardsigmoid(fc2(relu(fc1(mean(x)))))."""
    gate = convolution(builder, last_convolution(module.child("fc1")), mean_hw(builder, module, value))
    gate = builder.add("Relu", module.path, [gate], gate.shape)
    gate = convolution(builder, last_convolution(module.child("fc2")), gate)
    gate = builder.add("HardSigmoid", module.path, [gate], gate.shape, {"alpha": 1 / 6, "beta": 0.5})
    return builder.elementwise("Mul", module.path, value, gate)


def _branch(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """A depthwise 3x3 convolution, then 1x1."""
    return convolution(builder, last_convolution(module.child("1")), _step(builder, module.child("0"), value, "ReLU6"))


def _step(builder: GraphBuilder, module: Module, value: Value, activation: str = "Identity", stride: int = 1) -> Value:
    """A convolution, its BatchNorm and an activation."""
    conv = module.child("0")
    groups = value.channels if _is_depthwise(module, value) else 1
    made = convolution(builder, square_convolution(conv, stride, groups), value, batch_norm(module.child("1"), _EPS))
    return ACTIVATIONS[activation](builder, conv, made)


def _is_depthwise(module: Module, value: Value) -> bool:
    out, inputs, _, _ = weight_shape(module.child("0"))
    return inputs == 1 and out == value.channels > 1
