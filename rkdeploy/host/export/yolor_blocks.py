"""Emitters for the blocks of YOLOR's paper branch, its wavelets, and the fold of its implicit knowledge.

Formulas are those of the forward passes in models/common.py of WongKinYiu/yolor, branch paper, in inference mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, stem
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.csp_blocks import Kernel, folded, halves, summed
from rkdeploy.host.export.emission import Emission, Emitter, child, one

Scale = tuple[NDArray[np.float64], NDArray[np.float64]]


def implicit_convolution(
    builder: GraphBuilder,
    conv: Module,
    value: Value,
    added: NDArray[np.float32] | None,
    gain: NDArray[np.float32] | None,
) -> Value:
    """`gain * conv(x + added)` as one convolution: weights gain W, bias gain (b + W added).

    Exact for a 1x1 convolution: without padding every cell gets the same addition.

    Args:
        builder: the graph.
        conv: a 1x1 convolution of one group.
        value: x.
        added: ImplicitA, one number per input channel.
        gain: ImplicitM, one number per output channel.

    Raises:
        GraphError: when the numbers are not as many as the channels.
    """
    weight, bias = with_implicit(folded(conv, None), added, gain, conv.path)
    return convolutions.convolution(builder, conv, value, weight=weight, bias=bias)


def with_implicit(
    kernel: Kernel, added: NDArray[np.float32] | None, gain: NDArray[np.float32] | None, path: str
) -> Kernel:
    """The weights of `implicit_convolution`."""
    weight, bias = kernel
    if added is not None:
        if weight.shape[1:] != (added.size, 1, 1):
            raise GraphError(f'"{path}" has weights {weight.shape}, but {added.size} numbers are added to its input.')
        bias = bias + weight[:, :, 0, 0] @ added.ravel().astype(np.float64)
    if gain is not None:
        if gain.size != bias.size:
            raise GraphError(f'"{path}" gives {bias.size} channels, but they are multiplied by {gain.size} numbers.')
        factor = gain.ravel().astype(np.float64)
        weight, bias = weight * factor[:, None, None, None], bias * factor
    return weight, bias


def scaled(builder: GraphBuilder, path: str, value: Value, scale: Scale) -> Value:
    """Scale * x + shift per channel, as a depthwise 1x1 convolution: a following activation is then fused into it."""
    factor, shift = (v.astype(np.float32) for v in scale)
    if factor.size != value.channels:
        raise GraphError(f'"{path}" normalizes {factor.size} channels, but its input has the shape {value.shape}.')
    return builder.add(
        "Conv",
        path,
        [
            value,
            builder.constant(f"{path}.weight", factor.reshape(-1, 1, 1, 1)),
            builder.constant(f"{path}.bias", shift),
        ],
        value.shape,
        {"kernel_shape": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": factor.size},
    )


def reorganized(emission: Emission, path: str, value: Value) -> Value:
    """The four pixel phases as channels: Focus without its convolution, in the form of the stem."""
    return stem.phases(emission.builder, path, value, by_slices=emission.stem in {"trained", "slices"})


def haar(builder: GraphBuilder, transform: Module, path: str, value: Value) -> Value:
    """One level of the wavelet transform: cat(low / 2, details / 2 + 0.5), at half the size.

    Four 2x2 products of the filters at stride 2, so one convolution.  Channels are the low parts, then the three
    details of each channel (low across and high down, high across and low down, high both ways), as
    pytorch_wavelets' DWTForward with J=1 gives them.

    Raises:
        GraphError: when the filters are not of two taps, or the size is odd.
    """
    filters = {name: transform.array(name).ravel() for name in ("h0_col", "h1_col", "h0_row", "h1_row")}
    n, c, h, w = value.shape
    if any(taps.size != 2 for taps in filters.values()) or h % 2 or w % 2:
        raise GraphError(f'"{path}" (DWT) is known with Haar\'s two-tap filters and even sizes only, got {h}x{w}.')
    parts = [("h0_col", "h0_row"), ("h1_col", "h0_row"), ("h0_col", "h1_row"), ("h1_col", "h1_row")]
    weight = np.zeros((4 * c, c, 2, 2), np.float32)
    bias = np.zeros(4 * c, np.float32)
    bias[c:] = 0.5
    for part, (down, across) in enumerate(parts):
        kernel = np.outer(filters[down], filters[across]) / 2
        for channel in range(c):
            weight[channel if part == 0 else c + 3 * channel + part - 1, channel] = kernel
    return builder.add(
        "Conv",
        path,
        [value, builder.constant(f"{path}.weight", weight), builder.constant(f"{path}.bias", bias)],
        (n, 4 * c, h // 2, w // 2),
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1},
    )


def _reorg(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """ReOrg, and DWT if training had no pytorch_wavelets."""
    value = one(module, inputs)
    if "xfm" in module.children:
        return haar(emission.builder, module.child("xfm"), module.path, value)
    return reorganized(emission, module.path, value)


def _activated_join(emission: Emission, module: Module, parts: Sequence[tuple[Value, Module | None]]) -> Value:
    """act(bn(cat(parts))); a part is a tensor and optionally the bare convolution that it goes through.

    A concatenation does not mix channels: each part gets its share of the BatchNorm, in its convolution if it has one.
    """
    builder = emission.builder
    norm = module.child("bn")
    scale, shift = convolutions.batch_norm_scale(norm)
    normed = []
    start = 0
    for value, conv in parts:
        if conv is None:
            end = start + value.channels
            share = (scale[start:end], shift[start:end])
            normed.append(scaled(builder, norm.path, value, share))
        else:
            weight, bias = folded(conv, None)
            end = start + bias.size
            factor = scale[start:end]
            weight, bias = weight * factor[:, None, None, None], bias * factor + shift[start:end]
            normed.append(convolutions.convolution(builder, conv, value, weight=weight, bias=bias))
        start = end
    if start != scale.size:
        raise GraphError(f'"{norm.path}" normalizes {scale.size} channels, but is given {start}.')
    return child(emission, module, "act", builder.concat(module.path, normed, 1))


def _inner(emission: Emission, module: Module, value: Value) -> Value:
    """m(cv1(x))."""
    return child(emission, module, "m", child(emission, module, "cv1", value))


def _csp_f(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv4(act(bn(cat(m(cv1(x)), cv2(x)))))."""
    value = one(module, inputs)
    parts = [(_inner(emission, module, value), None), (value, module.child("cv2"))]
    return child(emission, module, "cv4", _activated_join(emission, module, parts))


def _csp_l(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(bn(cat(cv3(m(cv1(x))), cv2(x))))."""
    value = one(module, inputs)
    parts = [(_inner(emission, module, value), module.child("cv3")), (value, module.child("cv2"))]
    return _activated_join(emission, module, parts)


def _csp_2(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(act(bn(cat(m(y), cv2(y))))) with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    parts = [(child(emission, module, "m", value), None), (value, module.child("cv2"))]
    return child(emission, module, "cv3", _activated_join(emission, module, parts))


def _spp_csp(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv7(act(bn(cat(cv6(cv5(cat(y, pools of y))), cv2(x))))) with y = cv4(cv3(cv1(x)))."""
    value = one(module, inputs)
    inner = value
    for name in ("cv1", "cv3", "cv4"):
        inner = child(emission, module, name, inner)
    pools = module.child("m")
    pooled = [child(emission, pools, name, inner) for name in pools.children]
    joined = emission.builder.concat(module.path, [inner, *pooled], 1)
    joined = child(emission, module, "cv6", child(emission, module, "cv5", joined))
    parts = [(joined, None), (value, module.child("cv2"))]
    return child(emission, module, "cv7", _activated_join(emission, module, parts))


def _vov_csp(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(y, cv2(y))) with y = cv1(second half of x)."""
    _, second = halves(emission, module, one(module, inputs))
    first = child(emission, module, "cv1", second)
    joined = emission.builder.concat(module.path, [first, child(emission, module, "cv2", first)], 1)
    return child(emission, module, "cv3", joined)


def _down_c(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cat(cv2(cv1(x)), cv3(maxpool(x)))."""
    value = one(module, inputs)
    strided = child(emission, module, "cv2", child(emission, module, "cv1", value))
    pooled = child(emission, module, "cv3", child(emission, module, "mp", value))
    return emission.builder.concat(module.path, [strided, pooled], 1)


def _down_d(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cv2(cv1(x))) + cv4(avgpool(x))."""
    value = one(module, inputs)
    strided = value
    for name in ("cv1", "cv2", "cv3"):
        strided = child(emission, module, name, strided)
    pooled = child(emission, module, "cv4", child(emission, module, "ap", value))
    return summed(emission, module, strided, pooled)


YOLOR_BLOCKS: dict[str, Emitter] = {
    "ReOrg": _reorg,
    "DWT": _reorg,
    "BottleneckCSPF": _csp_f,
    "BottleneckCSPL": _csp_l,
    "BottleneckCSP2": _csp_2,
    "SPPCSP": _spp_csp,
    "VoVCSP": _vov_csp,
    "DownC": _down_c,
    "DownD": _down_d,
}
