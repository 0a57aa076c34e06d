"""Emitters for the blocks of YOLOv7's own code, and of the forks that carry its name.

Formulas are those of the forward passes in models/common.py of WongKinYiu/yolov7, in inference mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import rewrites
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import (
    Kernel,
    folded,
    halves,
    identity_kernel,
    joined,
    one_convolution,
    summed,
)
from rkdeploy.host.export.emission import Emission, Emitter, child, one
from rkdeploy.host.export.layer_settings import require_setting
from rkdeploy.host.export.orepa_block import rep_conv_orepa
from rkdeploy.host.export.yolor_blocks import YOLOR_BLOCKS


def _inner(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """m(x): a pooling in a block of its own (MP, SP)."""
    return child(emission, module, "m", one(module, inputs))


def _chunked_concat(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """The first halves of all inputs, then the second halves."""
    require_setting(module, "d", 1)
    parts = [halves(emission, module, value) for value in inputs]
    return emission.builder.concat(module.path, [a for a, _ in parts] + [b for _, b in parts], 1)


def _shortcut(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """x0 + x1."""
    if len(inputs) != 2:
        raise GraphError(f'"{module.path}" ({module.class_name}) is given {len(inputs)} inputs, expected two.')
    return summed(emission, module, *inputs)


def _fold_cut(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """The sum of both halves of the channels."""
    require_setting(module, "d", 1)
    return summed(emission, module, *halves(emission, module, one(module, inputs)))


def _stem(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv4(cat(cv3(cv2(y)), pool(y))) with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    strided = child(emission, module, "cv3", child(emission, module, "cv2", value))
    return joined(emission, module, [strided, child(emission, module, "pool", value)], "cv4")


def _spp_csp_c(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv7(cat(cv6(cv5(cat(y, pools of y))), cv2(x))) with y = cv4(cv3(cv1(x)))."""
    value = inner = one(module, inputs)
    for name in ("cv1", "cv3", "cv4"):
        inner = child(emission, module, name, inner)
    pooled = rewrites.nested_pools(emission, list(module.child("m").children.values()), inner)
    inner = child(emission, module, "cv6", joined(emission, module, [inner, *pooled], "cv5"))
    return joined(emission, module, [inner, child(emission, module, "cv2", value)], "cv7")


def _sppf_csp_c(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """SPPCSPC with pools of one size, each of the one before."""
    value = inner = one(module, inputs)
    for name in ("cv1", "cv3", "cv4"):
        inner = child(emission, module, name, inner)
    parts = [inner]
    for _ in range(3):
        parts.append(child(emission, module, "m", parts[-1]))
    inner = child(emission, module, "cv6", joined(emission, module, parts, "cv5"))
    return joined(emission, module, [inner, child(emission, module, "cv2", value)], "cv7")


def _residual(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cv2(cv1(x))), added to x where `add` is set."""
    value = out = one(module, inputs)
    for name in ("cv1", "cv2", "cv3"):
        out = child(emission, module, name, out)
    return summed(emission, module, value, out) if module.attribute("add") else out


def _csp_a(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(m(cv1(x)), cv2(x)))."""
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    return joined(emission, module, [inner, child(emission, module, "cv2", value)], "cv3")


def _csp_b(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(m(y), cv2(y))) with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    return joined(emission, module, [child(emission, module, "m", value), child(emission, module, "cv2", value)], "cv3")


def _csp_c(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv4(cat(cv3(m(cv1(x))), cv2(x)))."""
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    parts = [child(emission, module, "cv3", inner), child(emission, module, "cv2", value)]
    return joined(emission, module, parts, "cv4")


def _rep_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(dense(x) + pointwise(x) + bn(x)), folded into one convolution; act(conv(x)) once re-parameterized."""
    value = one(module, inputs)
    if "rbr_reparam" in module.children:
        conv = module.child("rbr_reparam")
        return one_convolution(emission, module, conv, [folded(conv, None)], value)
    dense = module.child("rbr_dense")
    kernels: list[Kernel] = [_branch(dense), _branch(module.child("rbr_1x1"))]
    if "rbr_identity" in module.children:
        kernels.append(identity_kernel(module.child("rbr_identity"), kernels[0][0].shape[1]))
    return one_convolution(emission, module, dense.child("0"), kernels, value)


def _branch(branch: Module) -> Kernel:
    """A convolution and the BatchNorm behind it."""
    return folded(branch.child("0"), branch.child("1"))


def _robust_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Gamma * conv1x1(conv_dw(x)), or gamma * deconv(conv_strided(x))."""
    value = one(module, inputs)
    if "conv_dw" in module.children:
        value = child(emission, module, "conv1x1", child(emission, module, "conv_dw", value))
    else:
        value = child(emission, module, "conv_deconv", child(emission, module, "conv_strided", value))
    if "gamma" not in module.tensors:
        return value
    gamma = module.array("gamma").astype(np.float32).reshape(1, -1, 1, 1)
    return emission.builder.elementwise("Mul", module.path, value, gamma)


YOLOV7_BLOCKS: dict[str, Emitter] = {
    **YOLOR_BLOCKS,
    "MP": _inner,
    "SP": _inner,
    "SPF": _inner,
    "Chuncat": _chunked_concat,
    "Shortcut": _shortcut,
    "Foldcut": _fold_cut,
    "Stem": _stem,
    "GhostStem": _stem,
    "SPPCSPC": _spp_csp_c,
    "GhostSPPCSPC": _spp_csp_c,
    "SPPFCSPC": _sppf_csp_c,
    "RepConv": _rep_conv,
    "RepConv_OREPA": rep_conv_orepa,
    "RobustConv": _robust_conv,
    "RobustConv2": _robust_conv,
    "Ghost": lambda e, m, v: summed(e, m, child(e, m, "conv", *v), child(e, m, "shortcut", *v)),
    **dict.fromkeys(("Res", "ResX", "RepRes", "RepResX"), _residual),
    **{
        f"{kind}CSP{form}": emitter
        for kind in ("Bottleneck", "RepBottleneck", "Res", "RepRes", "ResX", "RepResX", "Ghost")
        for form, emitter in (("A", _csp_a), ("B", _csp_b), ("C", _csp_c))
    },
}
