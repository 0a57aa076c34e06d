"""One emitter per block class of the YOLOv5 model zoo, written from the module tree.

Formulas are those of the blocks' forward passes in inference mode.  Other families share most of these blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, layer_settings, layers, rewrites, stem
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.emission import Emission, Emitter, child, emit, one


def _conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Convolution, BatchNorm, activation.  A fused checkpoint has no `bn`."""
    conv, norm, value = module.child("conv"), module.children.get("bn"), one(module, inputs)
    if emission.stem in {"space_to_depth", "slices", "stripes"} and stem.is_strided_stem(conv, value):
        phases = stem.phases(emission.builder, module.path, value, by_slices=emission.stem == "slices")
        value = stem.phase_convolution(emission.builder, conv, norm, phases)
    else:
        value = convolutions.convolution(emission.builder, conv, value, norm)
    return child(emission, module, "act", value) if "act" in module.children else value


def _sequential(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    values = list(inputs)
    for step in module.children.values():
        values = [emit(emission, step, values)]
    return one(module, values)


def _residual(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Two convolutions, added to the input if `add` is set (Bottleneck, CrossConv)."""
    value = one(module, inputs)
    out = child(emission, module, "cv2", child(emission, module, "cv1", value))
    return emission.builder.elementwise("Add", module.path, value, out) if module.attribute("add") else out


def _bottleneck_csp(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv4(act(bn(cat(cv3(m(cv1(x))), cv2(x))))).

    The BatchNorm behind the concatenation is folded into the two convolutions before it, a half each: exact, since a
    concatenation does not mix channels.
    """
    value = one(module, inputs)
    inner = child(emission, module, "m", child(emission, module, "cv1", value))
    norm = module.child("bn")
    scale, shift = convolutions.batch_norm_scale(norm)
    halves = []
    start = 0
    for name, source in (("cv3", inner), ("cv2", value)):
        conv = module.child(name)
        weight = conv.array("weight")
        end = start + weight.shape[0]
        halves.append(_scaled_convolution(emission, conv, source, scale[start:end], shift[start:end]))
        start = end
    joined = emission.builder.concat(module.path, halves, 1)
    return child(emission, module, "cv4", child(emission, module, "act", joined))


def _scaled_convolution(
    emission: Emission, conv: Module, value: Value, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> Value:
    """A convolution followed by scale * y + shift per channel, as one convolution."""
    weight = conv.array("weight").astype(np.float64) * scale[:, None, None, None]
    if "bias" in conv.tensors:
        shift = shift + conv.array("bias").astype(np.float64) * scale
    return convolutions.convolution(emission.builder, conv, value, weight=weight, bias=shift)


def _c3(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv3(cat(m(cv1(x)), cv2(x))); `m` makes it C3, C3TR, C3SPP, C3Ghost, C3x, C3k, RepCSP."""
    if "cv4" in module.children:  # before v4.0 the name C3 was used for a BottleneckCSP of cross convolutions
        return _bottleneck_csp(emission, module, inputs)
    value = one(module, inputs)
    a, b = rewrites.pointwise_pair(emission, module.child("cv1"), module.child("cv2"), value)
    joined = emission.builder.concat(module.path, [child(emission, module, "m", a), b], 1)
    return child(emission, module, "cv3", joined)


def _spp(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(y, pool5(y), pool9(y), pool13(y))) with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    pooled = rewrites.nested_pools(emission, list(module.child("m").children.values()), value)
    return child(emission, module, "cv2", emission.builder.concat(module.path, [value, *pooled], 1))


def _sppf(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(y, p(y), p(p(y)), p(p(p(y))))) with y = cv1(x)."""
    values = [child(emission, module, "cv1", one(module, inputs))]
    for _ in range(3):
        values.append(child(emission, module, "m", values[-1]))
    return child(emission, module, "cv2", emission.builder.concat(module.path, values, 1))


def _focus(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Focus: the four pixel phases as channels, then a convolution block of stride 1."""
    value = one(module, inputs)
    block = module.child("conv")
    conv = block.child("conv")
    if conv.array("weight").shape[1] == value.channels:  # Rockchip's fork of 2021: a convolution of stride 2 instead
        return emit(emission, block, [value])
    if emission.stem == "convolution" and stem.is_plain(conv):
        out = stem.strided_convolution(emission.builder, conv, block.children.get("bn"), value)
        return child(emission, block, "act", out) if "act" in block.children else out
    phases = stem.phases(emission.builder, module.path, value, by_slices=emission.stem in {"trained", "slices"})
    return emit(emission, block, [phases])


def _ghost_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cat(y, cv2(y)) with y = cv1(x)."""
    value = child(emission, module, "cv1", one(module, inputs))
    return emission.builder.concat(module.path, [value, child(emission, module, "cv2", value)], 1)


def _ghost_bottleneck(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    value = one(module, inputs)
    return emission.builder.elementwise(
        "Add", module.path, child(emission, module, "conv", value), child(emission, module, "shortcut", value)
    )


def _mix_conv(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """act(bn(cat of convolutions with several kernel sizes)); the oldest releases add the input."""
    value = one(module, inputs)
    parts = [convolutions.convolution(emission.builder, conv, value) for conv in module.child("m").children.values()]
    normed = convolutions.batch_norm(
        emission.builder, module.child("bn"), emission.builder.concat(module.path, parts, 1)
    )
    return child(emission, module, "act", normed)


def _contract(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """(N, C, H, W) -> (N, s s C, H / s, W / s): rows and columns go into channels."""
    s = layer_settings.whole_number(module, "gain", 2)
    n, c, h, w = one(module, inputs).shape
    if h % s or w % s:
        raise GraphError(f'"{module.path}" (Contract) needs an input size divisible by {s}, got {h}x{w}.')
    builder = emission.builder
    value = builder.reshape(module.path, inputs[0], (n, c, h // s, s, w // s, s))
    value = builder.transpose(module.path, value, (0, 3, 5, 1, 2, 4))
    return builder.reshape(module.path, value, (n, c * s * s, h // s, w // s))


def _expand(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """(N, C, H, W) -> (N, C / s s, H s, W s): channels go into rows and columns."""
    s = layer_settings.whole_number(module, "gain", 2)
    n, c, h, w = one(module, inputs).shape
    builder = emission.builder
    value = builder.reshape(module.path, inputs[0], (n, s, s, c // (s * s), h, w))
    value = builder.transpose(module.path, value, (0, 3, 4, 1, 5, 2))
    return builder.reshape(module.path, value, (n, c // (s * s), h * s, w * s))


def _concat(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    axis = module.attribute("d", 1)
    if type(axis) is not int or not all(-len(v.shape) <= axis < len(v.shape) for v in inputs) or not inputs:
        raise GraphError(f'"{module.path}" (Concat) joins {len(inputs)} tensors along dimension {shown(axis)}.')
    return emission.builder.concat(module.path, inputs, axis)


def _sum(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Sum of the inputs, the second and later ones weighted by 2 sigmoid(w) if the block learned weights."""
    total = inputs[0]
    gains = 2 / (1 + np.exp(-module.array("w").astype(np.float64))) if module.attribute("weight") else None
    for index, value in enumerate(inputs[1:]):
        term = value if gains is None else emission.builder.elementwise("Mul", module.path, value, float(gains[index]))
        total = emission.builder.elementwise("Add", module.path, total, term)
    return total


def _transformer_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """tr(p + linear(p)) over the cells p of (N, C, H, W)."""
    builder = emission.builder
    value = one(module, inputs)
    if "conv" in module.children:
        value = child(emission, module, "conv", value)
    n, c, h, w = value.shape
    cells = builder.transpose(module.path, builder.reshape(module.path, value, (n, c, h * w)), (0, 2, 1))
    cells = builder.elementwise("Add", module.path, cells, child(emission, module, "linear", cells))
    for layer in module.child("tr").children.values():
        cells = _transformer_layer(emission, layer, cells)
    return builder.reshape(module.path, builder.transpose(module.path, cells, (0, 2, 1)), (n, c, h, w))


def _transformer_layer(emission: Emission, module: Module, value: Value) -> Value:
    """Attention and linear layers with residuals, x + attention(q(x), k(x), v(x)), then x + fc2(fc1(x)): (N, cells,
    C).
    """
    builder = emission.builder
    if "ln1" in module.children or "ma" not in module.children:
        raise GraphError(f'"{module.path}" is a transformer layer that YOLOv5 did not release.')
    q, k, v = (child(emission, module, name, value) for name in "qkv")
    mixed = _attention(emission, module.child("ma"), q, k, v)
    value = builder.elementwise("Add", module.path, mixed, value)
    inner = child(emission, module, "fc2", child(emission, module, "fc1", value))
    return builder.elementwise("Add", module.path, inner, value)


def _attention(emission: Emission, module: Module, q: Value, k: Value, v: Value) -> Value:
    """nn.MultiheadAttention: softmax(Q K^T / sqrt(d)) V per head, on (N, cells, C)."""
    builder = emission.builder
    n, cells, c = q.shape
    heads = layer_settings.whole_number(module, "num_heads", 0)
    layer_settings.require_setting(module, "batch_first", False)  # the block puts the cells first
    layer_settings.require_setting(module, "add_zero_attn", False)
    depth = c // heads
    weights = np.split(module.array("in_proj_weight"), 3)
    biases = np.split(module.array("in_proj_bias"), 3)
    # The scale goes into Q's projection: (W q + b) / sqrt(d).
    scale = np.float32(depth**-0.5)
    parts = []
    for name, value, weight, bias, gain in zip(
        "qkv", (q, k, v), weights, biases, (scale, np.float32(1), np.float32(1)), strict=True
    ):
        projected = layers.linear(builder, f"{module.path}.{name}", value, weight * gain, bias * gain)
        split = builder.reshape(f"{module.path}.{name}", projected, (n, cells, heads, depth))
        parts.append(builder.transpose(f"{module.path}.{name}", split, (0, 2, 3, 1) if name == "k" else (0, 2, 1, 3)))
    logits = builder.add("MatMul", module.path, parts[:2], (n, heads, cells, cells))
    attention = builder.add("Softmax", module.path, [logits], logits.shape, {"axis": -1})
    mixed = builder.add("MatMul", module.path, [attention, parts[2]], (n, heads, cells, depth))
    joined = builder.reshape(module.path, builder.transpose(module.path, mixed, (0, 2, 1, 3)), (n, cells, c))
    return child(emission, module, "out_proj", joined)


YOLOV5_BLOCKS: dict[str, Emitter] = {
    "Conv": _conv,
    "DWConv": _conv,
    "Sequential": _sequential,
    "Bottleneck": _residual,
    "CrossConv": _residual,
    "RepBottleneck": _residual,
    "BottleneckCSP": _bottleneck_csp,
    "C3": _c3,
    "C3TR": _c3,
    "C3SPP": _c3,
    "C3Ghost": _c3,
    "C3x": _c3,
    "C3k": _c3,
    "RepCSP": _c3,
    "SPP": _spp,
    "SPPF": _sppf,
    "Focus": _focus,
    "GhostConv": _ghost_conv,
    "GhostBottleneck": _ghost_bottleneck,
    "MixConv2d": _mix_conv,
    "Contract": _contract,
    "Expand": _expand,
    "Concat": _concat,
    "Sum": _sum,
    "TransformerBlock": _transformer_block,
    "NonDynamicallyQuantizableLinear": lambda e, m, v: layers.linear_module(e.builder, m, one(m, v)),
    "_LinearWithBias": lambda e, m, v: layers.linear_module(e.builder, m, one(m, v)),
}
