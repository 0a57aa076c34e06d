"""Emitters for the blocks of small detectors on anchors: YOLOv5-face, YOLOv5-Lite, YOLOv7-face and their descendants.

Formulas are those of the forward passes in models/common.py of deepcam-cn/yolov5-face, ppogg/YOLOv5-Lite and
derronqi/yolov7-face, in inference mode.  A BatchNorm in a chain is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.csp_blocks import Kernel, folded, halves, identity_kernel, joined, one_convolution, summed
from rkdeploy.host.export.emission import Emission, Emitter, child, emit, one

_NORMS = frozenset({"BatchNorm2d", "SyncBatchNorm"})


def _chain(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """The children one after the other; a BatchNorm behind a convolution is folded into it."""
    value = one(module, inputs)
    steps = list(module.children.values())
    while steps:
        step = steps.pop(0)
        if step.class_name == "Conv2d" and steps and steps[0].class_name in _NORMS:
            value = convolution(emission.builder, step, value, steps.pop(0))
        else:
            value = emit(emission, step, [value])
    return value


def _shuffle_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """ShuffleNetV2: shuffle(cat(a, branch2(b))) with a, b = halves of x; with stride, of branch1(x) and branch2(x)."""
    value = one(module, inputs)
    branch = module.children.get("branch1")
    if branch is not None and branch.children:
        a, b = _chain(emission, branch, [value]), value
    else:
        a, b = halves(emission, module, value)
    both = emission.builder.concat(module.path, [a, _chain(emission, module.child("branch2"), [b])], 1)
    n, c, h, w = both.shape
    mixed = emission.builder.reshape(module.path, both, (n, 2, c // 2, h, w))
    mixed = emission.builder.transpose(module.path, mixed, (0, 2, 1, 3, 4))
    return emission.builder.reshape(module.path, mixed, both.shape)


def _stem_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """stem_3(cat(stem_2b(stem_2a(y)), pool(y))) with y = stem_1(x)."""
    value = child(emission, module, "stem_1", one(module, inputs))
    strided = child(emission, module, "stem_2b", child(emission, module, "stem_2a", value))
    return joined(emission, module, [strided, child(emission, module, "stem_2p", value)], "stem_3")


def _pooled_stem(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """maxpool(relu(bn(conv(x))))."""
    return child(emission, module, "maxpool", _chain(emission, module.child("conv"), inputs))


def _blaze_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """relu(branch1(x) + shortcut(x)); x itself where there is no shortcut."""
    value = one(module, inputs)
    inner = _chain(emission, module.child("branch1"), [value])
    aside = _chain(emission, module.child("shortcut"), [value]) if "shortcut" in module.children else value
    return child(emission, module, "relu", summed(emission, module, inner, aside))


def _separable(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act2(bn2(conv2(act1(bn1(conv1(x)))))): depthwise, then 1x1.  YOLOv5-Lite's ReLU is not a module."""
    value = one(module, inputs)
    for number in "12":
        value = convolution(emission.builder, module.child(f"conv{number}"), value, module.child(f"bn{number}"))
        if f"act{number}" in module.children:
            value = child(emission, module, f"act{number}", value)
        else:
            value = emission.builder.add("Relu", module.path, [value], value.shape)
    return value


def _addition(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """x0 + alpha * x1."""
    alpha = module.attribute("a")
    if len(inputs) != 2 or not isinstance(alpha, (int, float)):
        raise GraphError(
            f'"{module.path}" ({module.class_name}) adds {len(inputs)} inputs with alpha {shown(alpha)}, expected two '
            "inputs and a number."
        )
    first, second = inputs
    if alpha != 1:
        second = emission.builder.elementwise("Mul", module.path, second, float(alpha))
    return summed(emission, module, first, second)


def _rep_vgg(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """nonlinearity(se(dense(x) + pointwise(x) + bn(x))), the branches folded into one convolution."""
    if "rbr_reparam" in module.children:
        conv = module.child("rbr_reparam")
        kernels: list[Kernel] = [folded(conv, None)]
    else:
        dense, pointwise = module.child("rbr_dense"), module.child("rbr_1x1")
        conv = dense.child("conv")
        kernels = [folded(branch.child("conv"), branch.child("bn")) for branch in (dense, pointwise)]
        if "rbr_identity" in module.children:
            kernels.append(identity_kernel(module.child("rbr_identity"), kernels[0][0].shape[1]))
    value = one_convolution(emission, module, conv, kernels, one(module, inputs))
    return child(emission, module, "nonlinearity", child(emission, module, "se", value))


def _hardswish_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """hardswish(bn(conv(x))); a fused one has no `bn`."""
    value = convolution(emission.builder, module.child("conv"), one(module, inputs), module.children.get("bn"))
    return child(emission, module, "hardswish", value)


def _excitation(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """X * SiLU(conv2(relu(conv1(mean(x)))))."""
    value = gate = one(module, inputs)
    for name in ("avg_pool", "conv1", "relu", "conv2", "SiLU"):
        gate = child(emission, module, name, gate)
    return emission.builder.elementwise("Mul", module.path, value, gate)


def _lc_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """pw_conv(se(dw_conv(x))); se where there is one."""
    value = child(emission, module, "dw_conv", one(module, inputs))
    if "se" in module.children:
        value = child(emission, module, "se", value)
    return child(emission, module, "pw_conv", value)


def _dense(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """hardswish(dense_conv(x)); dropout does nothing in inference."""
    return child(emission, module, "hardswish", child(emission, module, "dense_conv", one(module, inputs)))


def _added_c3(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(m(cv1(x)) + cv2(x))."""
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    return child(emission, module, "cv3", summed(emission, module, inner, child(emission, module, "cv2", value)))


LITE_BLOCKS: dict[str, Emitter] = {
    "StemBlock": _stem_block,
    "ShuffleV2Block": _shuffle_block,
    "Shuffle_Block": _shuffle_block,
    "conv_bn_relu_maxpool": _pooled_stem,
    "BlazeBlock": _blaze_block,
    "DoubleBlazeBlock": _blaze_block,
    "DWConvblock": _separable,
    "ADD": _addition,
    "RepVGGBlock": _rep_vgg,
    "CBH": _hardswish_conv,
    "LC_SEModule": _excitation,
    "LC_Block": _lc_block,
    "Dense": _dense,
    "LC3": _added_c3,
}
