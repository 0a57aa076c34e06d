"""Emitters for blocks with attention: YOLOv10's PSA, YOLO11's and 26's C2PSA, YOLO12's area attention, CBAM.

The scale of softmax(q k / sqrt(d)) is applied between the product and the softmax, where the vendor's toolkit finds the
pattern that it fuses, and not before the product as in training: equal up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layer_settings
from rkdeploy.host.export.builder import Value
from rkdeploy.host.export.csp_blocks import c2f, halves, joined, summed
from rkdeploy.host.export.emission import Emission, Emitter, chain, child, one


def _mixed(emission: Emission, module: Module, q: Value, k: Value, v: Value, scale: float) -> Value:
    """Attention over the last dimension, v softmax(scale q^T k)^T: q, k (..., d, cells), v (..., e, cells)."""
    builder, path = emission.builder, module.path
    lead, cells = q.shape[:-2], q.shape[-1]
    logits = builder.add("MatMul", path, [builder.transpose(path, q, _swapped(q)), k], (*lead, cells, cells))
    scaled = builder.elementwise("Mul", path, logits, float(np.float32(scale)))
    attention = builder.add("Softmax", path, [scaled], scaled.shape, {"axis": -1})
    turned = builder.transpose(path, attention, _swapped(attention))
    return builder.add("MatMul", path, [v, turned], (*lead, v.shape[-2], cells))


def _swapped(value: Value) -> list[int]:
    """The order of dimensions that swaps the last two."""
    order = list(range(len(value.shape)))
    order[-2:] = order[-1], order[-2]
    return order


def _attention(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """proj(v softmax(scale q k) + pe(v)), with q, k, v from one convolution, heads side by side in its channels.

    The scale is stored, and is that of the trained forward pass: 1 / sqrt(d) unless it was changed.
    """
    builder = emission.builder
    n, c, h, w = one(module, inputs).shape
    heads = layer_settings.whole_number(module, "num_heads", 0)
    key, head = layer_settings.whole_number(module, "key_dim", 0), layer_settings.whole_number(module, "head_dim", 0)
    qkv = child(emission, module, "qkv", inputs[0])
    if qkv.channels != heads * (2 * key + head):
        raise GraphError(f'"{module.path}" has {qkv.channels} channels for {heads} heads of {key}, {key} and {head}.')
    parts = builder.reshape(module.path, qkv, (n, heads, 2 * key + head, h * w))
    q, k, v = builder.split(module.path, parts, [key, key, head], 2)
    scale = layer_settings.number(module, "scale", key**-0.5)
    mixed = builder.reshape(module.path, _mixed(emission, module, q, k, v, scale), (n, c, h, w))
    place = child(emission, module, "pe", builder.reshape(module.path, v, (n, c, h, w)))
    return child(emission, module, "proj", builder.elementwise("Add", module.path, mixed, place))


def _psa_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Two residual steps, x + attn(x) then x + ffn(x); without the sums if `add` is not set."""
    value = one(module, inputs)
    for name in ("attn", "ffn"):
        out = child(emission, module, name, value)
        value = summed(emission, module, value, out) if module.attribute("add", True) else out
    return value


def _psa(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(a, y + ffn(y))) with a, b = halves of cv1(x), y = b + attn(b)."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    for name in ("attn", "ffn"):
        b = summed(emission, module, b, child(emission, module, name, b))
    return joined(emission, module, [a, b], "cv2")


def _c2_psa(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(a, m(b))) with a, b = halves of cv1(x)."""
    a, b = halves(emission, module, child(emission, module, "cv1", one(module, inputs)))
    return joined(emission, module, [a, child(emission, module, "m", b)], "cv2")


def _area_attention(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Attention within `area` equal bands of cells; heads are blocks of 3 d channels: q, k, v of d each."""
    builder, path = emission.builder, module.path
    n, _, h, w = one(module, inputs).shape
    heads, area = layer_settings.whole_number(module, "num_heads", 0), layer_settings.whole_number(module, "area", 1)
    if "qkv" not in module.children:
        raise GraphError(
            f'"{path}" (AAttn) has no convolution "qkv": the first release of YOLO12 wrote it, in another layout.',
            "Export ONNX where the model was trained and build from that: rkdeploy build best.onnx --weights best.pt",
        )
    qkv = child(emission, module, "qkv", inputs[0])
    width = qkv.channels // 3
    depth = width // heads
    layer_settings.require_setting(module, "head_dim", depth)  # the block scales by the stored value
    if (h * w) % area or qkv.channels != 3 * heads * depth:
        raise GraphError(
            f'"{path}" (AAttn) cannot share {h} x {w} cells among {area} areas, or {qkv.channels} channels among '
            f"{heads} heads.",
            "Choose an --imgsz whose cells at this layer divide by the number of areas: a multiple of 64 works.",
        )
    cells = h * w // area
    banded = builder.reshape(path, qkv, (n, heads, 3 * depth, area, cells))
    banded = builder.transpose(path, banded, (0, 3, 1, 2, 4))  # (n, area, heads, 3 d, cells)
    banded = builder.reshape(path, banded, (n * area, heads, 3 * depth, cells))
    q, k, v = builder.split(path, banded, [depth] * 3, 2)
    mixed = _unbanded(emission, path, _mixed(emission, module, q, k, v, depth**-0.5), (n, area, heads * depth, h, w))
    place = child(emission, module, "pe", _unbanded(emission, path, v, (n, area, heads * depth, h, w)))
    return child(emission, module, "proj", builder.elementwise("Add", path, mixed, place))


def _unbanded(emission: Emission, path: str, value: Value, shape: tuple[int, int, int, int, int]) -> Value:
    """(n area, heads, d, cells) back to (n, heads d, h, w)."""
    builder = emission.builder
    n, area, channels, h, w = shape
    split = builder.reshape(path, value, (n, area, channels, h * w // area))
    return builder.reshape(path, builder.transpose(path, split, (0, 2, 1, 3)), (n, channels, h, w))


def _a_block(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Two residual steps: x + attn(x), then x + mlp(x)."""
    value = one(module, inputs)
    for name in ("attn", "mlp"):
        value = summed(emission, module, value, child(emission, module, name, value))
    return value


def _a2_c2f(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """cv2(cat(y0, m0(y0), m1(m0(y0)), ...)) with y0 = cv1(x); x + gamma * that if gamma was trained."""
    value = one(module, inputs)
    first = child(emission, module, "cv1", value)
    out = joined(emission, module, [first, *chain(emission, module.child("m"), first)], "cv2")
    if "gamma" not in module.tensors:
        return out
    gamma = module.array("gamma").reshape(1, -1, 1, 1)
    return summed(emission, module, value, emission.builder.elementwise("Mul", module.path, out, gamma))


def _channel_attention(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Channel attention: x * act(fc(mean of x))."""
    value = one(module, inputs)
    gate = child(emission, module, "act", child(emission, module, "fc", child(emission, module, "pool", value)))
    return emission.builder.elementwise("Mul", module.path, value, gate)


def _spatial_attention(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """Spatial attention: x * act(cv1(cat(mean over channels, maximum over channels)))."""
    builder = emission.builder
    value = one(module, inputs)
    n, _, h, w = value.shape
    pooled = [
        builder.add(op, module.path, [value], (n, 1, h, w), {"axes": [1], "keepdims": 1})
        for op in ("ReduceMean", "ReduceMax")
    ]
    both = builder.concat(module.path, pooled, 1)
    gate = child(emission, module, "act", child(emission, module, "cv1", both))
    return builder.elementwise("Mul", module.path, value, gate)


def _cbam(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    value = child(emission, module, "channel_attention", one(module, inputs))
    return child(emission, module, "spatial_attention", value)


ATTENTION_BLOCKS: dict[str, Emitter] = {
    "Attention": _attention,
    "PSABlock": _psa_block,
    "PSA": _psa,
    "C2PSA": _c2_psa,
    "C2fPSA": c2f,
    "AAttn": _area_attention,
    "ABlock": _a_block,
    "A2C2f": _a2_c2f,
    "ChannelAttention": _channel_attention,
    "SpatialAttention": _spatial_attention,
    "CBAM": _cbam,
}
