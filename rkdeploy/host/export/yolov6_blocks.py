"""Emitters for the blocks of YOLOv6, its lite models and its older releases.

Formulas are those of the forward passes in yolov6/layers/common.py of meituan/YOLOv6, 0.2.0 to 0.4.1, in inference
mode.  The branches of a block in its training form are folded into one convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.convolutions import batch_norm_scale, convolution
from rkdeploy.host.export.csp_blocks import Kernel, folded, halves, joined, summed
from rkdeploy.host.export.emission import Emission, Emitter, child, emit, one
from rkdeploy.host.export.lite_blocks import LITE_BLOCKS
from rkdeploy.host.export.yolov5_blocks import YOLOV5_BLOCKS


def _wrapped(name: str) -> Emitter:
    """A block that holds another one."""

    def emitter(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
        return child(emission, module, name, *inputs)

    return emitter


def _in_turn(*names: str) -> Emitter:
    """Sub-modules one after the other; those that a model does not have are left out."""

    def emitter(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
        value = one(module, inputs)
        for name in names:
            if name in module.children:
                value = child(emission, module, name, value)
        return value

    return emitter


def _sppf(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """SPPF, or since 0.4.0 the module that holds it."""
    if "sppf" in module.children:
        return child(emission, module, "sppf", *inputs)
    return YOLOV5_BLOCKS["SPPF"](emission, module, inputs)


def _csp_sppf(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv7(cat(cv2(x), cv6(cv5(cat(y, p(y), p(p(y)), p(p(p(y)))))))) with y = cv4(cv3(cv1(x)))."""
    if "cspsppf" in module.children:
        return child(emission, module, "cspsppf", *inputs)
    value = one(module, inputs)
    parts = [_in_turn("cv1", "cv3", "cv4")(emission, module, [value])]
    for _ in range(3):
        parts.append(child(emission, module, "m", parts[-1]))
    inner = child(emission, module, "cv6", joined(emission, module, parts, "cv5"))
    return joined(emission, module, [child(emission, module, "cv2", value), inner], "cv7")


def _qa_rep_vgg(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """nonlinearity(bn(se(dense(x) + pointwise(x) + x + mean of 3x3(x)))), those that there are, as one convolution."""
    if "rbr_reparam" in module.children:
        conv = module.child("rbr_reparam")
        total = folded(conv, None)
    else:
        conv = module.child("rbr_dense").child("conv")
        total = folded(conv, module.child("rbr_dense").child("bn"))
        total = _plus_center(total, folded(module.child("rbr_1x1"), None)[0][:, :, 0, 0])
        if "rbr_identity" in module.children:
            total = _plus_center(total, _identity(total))
        if "rbr_avg" in module.children:
            total = total[0] + _identity(total)[:, :, None, None] / 9, total[1]
    out = _normalized(emission, module, conv, total, one(module, inputs))
    return child(emission, module, "nonlinearity", child(emission, module, "se", out))


def _linear_add(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """relu(se(bn(a conv(x) + b conv_1x1(x) + c x))) with learned numbers a, b, c per channel, as one convolution."""
    conv, pointwise = module.child("conv"), module.child("conv_1x1")
    weight, bias = folded(conv, None)
    total = weight * _scale(module, "scale_conv")[:, None, None, None], bias
    total = _plus_center(total, folded(pointwise, None)[0][:, :, 0, 0] * _scale(module, "scale_1x1")[:, None])
    if "scale_identity" in module.children:
        total = _plus_center(total, _identity(total) * _scale(module, "scale_identity")[:, None])
    out = _normalized(emission, module, conv, total, one(module, inputs))
    return _in_turn("se", "relu")(emission, module, [out])


def _scale(module: Module, name: str) -> NDArray[np.float64]:
    return module.child(name).array("weight").astype(np.float64)


def _identity(kernel: Kernel) -> NDArray[np.float64]:
    """The matrix of a 1x1 convolution that keeps its input, (out, in / groups)."""
    outputs, inputs = kernel[0].shape[:2]
    matrix: NDArray[np.float64] = np.zeros((outputs, inputs))
    matrix[np.arange(outputs), np.arange(outputs) % inputs] = 1
    return matrix


def _plus_center(kernel: Kernel, matrix: NDArray[np.float64]) -> Kernel:
    """A 3x3 kernel plus a 1x1 one in its middle."""
    weight = kernel[0].copy()
    weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] += matrix
    return weight, kernel[1]


def _normalized(emission: Emission, module: Module, conv: Module, kernel: Kernel, value: Value) -> Value:
    """A convolution with the block's BatchNorm behind it, if it has one, folded in."""
    weight, bias = kernel
    if "bn" in module.children:
        scale, shift = batch_norm_scale(module.child("bn"))
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return convolution(emission.builder, conv, value, weight=weight, bias=bias)


def _real_vgg(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """relu(se(bn(conv(x))))."""
    out = convolution(emission.builder, module.child("conv"), one(module, inputs), module.children.get("bn"))
    return _in_turn("se", "relu")(emission, module, [out])


def _bottle_rep(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """conv2(conv1(x)), or conv3 of that, plus alpha x where the channels are as many."""
    value = one(module, inputs)
    out = _in_turn("conv1", "conv2", "conv3")(emission, module, [value])
    if not module.attribute("shortcut"):
        return out
    alpha = float(module.array("alpha").reshape(-1)[0]) if "alpha" in module.tensors else module.attribute("alpha", 1.0)
    scaled = value if alpha == 1 else emission.builder.elementwise("Mul", module.path, value, float(alpha))
    return summed(emission, module, out, scaled)


def _bep_c3(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(m(cv1(x)), cv2(x))); of 0.2.0 without the second part where `concat` is False."""
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    if module.attribute("concat", True) is False:
        return child(emission, module, "cv3", inner)
    return joined(emission, module, [inner, child(emission, module, "cv2", value)], "cv3")


def _mbla(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat of the parts of cv1(x) and of all steps of the chains that start from the later ones)."""
    sizes = module.attribute("split_num")
    branches = list(module.child("m").children.values())
    if not isinstance(sizes, (tuple, list)) or len(sizes) != 1 + len(branches):
        raise GraphError(f'"{module.path}" (MBLABlock) has {len(branches)} branches that do not fit its parts.')
    value = child(emission, module, "cv1", one(module, inputs))
    first, *starts = emission.builder.split(module.path, value, [int(n) for n in sizes], 1)
    parts = [first]
    for branch, start in zip(branches, starts, strict=True):
        parts.append(start)
        for step in branch.children.values():
            parts.append(emit(emission, step, [parts[-1]]))
    return joined(emission, module, parts, "cv2")


def _bi_fusion(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(upsample(x0), cv1(x1), downsample(cv2(x2))))."""
    if len(inputs) != 3:
        raise GraphError(f'"{module.path}" (BiFusion) is given {len(inputs)} inputs, expected three.')
    coarse, middle, fine = inputs
    parts = [
        child(emission, module, "upsample", coarse),
        child(emission, module, "cv1", middle),
        child(emission, module, "downsample", child(emission, module, "cv2", fine)),
    ]
    return joined(emission, module, parts, "cv3")


# --------------------------------------------------------------------------------------------------------------------
# Lite models
# --------------------------------------------------------------------------------------------------------------------


def _excitation(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """X * hardsigmoid(conv2(relu(conv1(mean(x)))))."""
    value = one(module, inputs)
    gate = _in_turn("avg_pool", "conv1", "relu", "conv2")(emission, module, [value])
    gate = emission.builder.add("HardSigmoid", module.path, [gate], gate.shape, {"alpha": 1 / 6, "beta": 0.5})
    return emission.builder.elementwise("Mul", module.path, value, gate)


def _effi_1(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """shuffle(cat(a, conv_1(se(conv_dw_1(conv_pw_1(b)))))) with a, b = halves of x."""
    kept, value = halves(emission, module, one(module, inputs))
    value = _in_turn("conv_pw_1", "conv_dw_1", "se", "conv_1")(emission, module, [value])
    both = emission.builder.concat(module.path, [kept, value], 1)
    n, c, h, w = both.shape
    mixed = emission.builder.reshape(module.path, both, (n, 2, c // 2, h, w))
    mixed = emission.builder.transpose(module.path, mixed, (0, 2, 1, 3, 4))
    return emission.builder.reshape(module.path, mixed, both.shape)


def _effi_2(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """conv_pw_3(conv_dw_3(cat(conv_1(conv_dw_1(x)), conv_2(se(conv_dw_2(conv_pw_2(x)))))))."""
    value = one(module, inputs)
    parts = [
        _in_turn("conv_dw_1", "conv_1")(emission, module, [value]),
        _in_turn("conv_pw_2", "conv_dw_2", "se", "conv_2")(emission, module, [value]),
    ]
    return child(emission, module, "conv_pw_3", joined(emission, module, parts, "conv_dw_3"))


def _separable(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act_2(bn_2(conv_pw_1(act_1(bn_1(conv_dw_1(x)))))); a fused one has no BatchNorms."""
    value = one(module, inputs)
    for number, kind in (("1", "dw"), ("2", "pw")):
        norm = module.children.get(f"bn_{number}")
        value = convolution(emission.builder, module.child(f"conv_{kind}_1"), value, norm)
        value = child(emission, module, f"act_{number}", value)
    return value


def _csp(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """conv_3(cat(blocks(conv_1(x)), conv_2(x)))."""
    value = one(module, inputs)
    inner = child(emission, module, "blocks", child(emission, module, "conv_1", value))
    return joined(emission, module, [inner, child(emission, module, "conv_2", value)], "conv_3")


YOLOV6_BLOCKS: dict[str, Emitter] = {
    **YOLOV5_BLOCKS,
    "RepVGGBlock": LITE_BLOCKS["RepVGGBlock"],
    "QARepVGGBlock": _qa_rep_vgg,
    "QARepVGGBlockV2": _qa_rep_vgg,
    "RealVGGBlock": _real_vgg,
    "LinearAddBlock": _linear_add,
    **dict.fromkeys(("ConvModule", "SimConv", "Conv_C3"), YOLOV5_BLOCKS["Conv"]),
    **dict.fromkeys(
        ("ConvBNReLU", "ConvBNSiLU", "ConvBN", "ConvBNHS", "ConvWrapper", "SimConvWrapper"), _wrapped("block")
    ),
    **dict.fromkeys(("SPPF", "SimSPPF", "SPPFModule"), _sppf),
    **dict.fromkeys(("CSPSPPF", "SimCSPSPPF", "CSPSPPFModule"), _csp_sppf),
    "Transpose": _wrapped("upsample_transpose"),
    "RepBlock": _in_turn("conv1", "block"),
    "BottleRep": _bottle_rep,
    "BottleRep3": _bottle_rep,
    "BepC3": _bep_c3,
    "MBLABlock": _mbla,
    "BiFusion": _bi_fusion,
    "SEBlock": _excitation,
    "Lite_EffiBlockS1": _effi_1,
    "Lite_EffiBlockS2": _effi_2,
    "DPBlock": _separable,
    "DarknetBlock": _in_turn("conv_1", "conv_2"),
    "CSPBlock": _csp,
}
