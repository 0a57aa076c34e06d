"""Emitters for a transformer's parts: normalization, perceptrons, attention between tokens, deformable attention, AIFI.

Source of the formulas: ultralytics.nn.modules.transformer and utils (`multi_scale_deformable_attn_pytorch`), torch's
`MultiheadAttention`.  Tokens are (N, tokens, C).  The scale of softmax(q k / sqrt(d)) is applied between the product
and the softmax, where the vendor's toolkit finds the pattern that it makes one operation of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import layer_settings, layers
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.emission import Emission, Emitter, child, one

_TEMPERATURE = 10000.0  # of AIFI's position encoding


def layer_norm(builder: GraphBuilder, norm: Module, value: Value) -> Value:
    """nn.LayerNorm over the last dimension, in operators that every opset has; the toolkit makes one of them."""
    path, rows = norm.path, (*value.shape[:-1], 1)
    mean = builder.add("ReduceMean", path, [value], rows, {"axes": [-1], "keepdims": 1})
    centered = builder.elementwise("Sub", path, value, mean)
    squares = builder.elementwise("Pow", path, centered, 2.0)
    variance = builder.add("ReduceMean", path, [squares], rows, {"axes": [-1], "keepdims": 1})
    shifted = builder.elementwise("Add", path, variance, layer_settings.number(norm, "eps", 1e-5))
    deviation = builder.add("Sqrt", path, [shifted], rows)
    normal = builder.elementwise("Div", path, centered, deviation)
    scaled = builder.elementwise("Mul", path, normal, _vector(norm, "weight", value))
    return builder.elementwise("Add", path, scaled, _vector(norm, "bias", value))


def _vector(norm: Module, name: str, value: Value) -> NDArray[np.float32]:
    found = norm.array(name)
    if found.shape != value.shape[-1:]:
        raise GraphError(f'"{norm.path}.{name}" has shape {found.shape}, expected {value.shape[-1:]}.')
    return found


def perceptron(emission: Emission, module: Module, value: Value) -> Value:
    """MLP: linear layers with a ReLU between them, or with the activation that it stores."""
    layer_settings.require_setting(module, "residual", False)
    layer_settings.require_setting(module, "sigmoid", False)
    steps = list(module.child("layers").children.values())
    for step in steps[:-1]:
        value = layers.linear_module(emission.builder, step, value)
        if "act" in module.children:
            value = child(emission, module, "act", value)
        else:
            value = emission.builder.add("Relu", module.path, [value], value.shape)
    return layers.linear_module(emission.builder, steps[-1], value)


def self_attention(emission: Emission, module: Module, query: Value, value: Value) -> Value:
    """nn.MultiheadAttention with queries and keys from one tensor: softmax(Q K^T / sqrt(d)) V per head.

    Args:
        emission: the graph.
        module: the attention.
        query: (N, tokens, C), of queries and keys.
        value: (N, tokens, C), of the values.
    """
    builder, path = emission.builder, module.path
    layer_settings.require_setting(module, "add_zero_attn", False)
    n, tokens, c = query.shape
    heads = layer_settings.whole_number(module, "num_heads", 0)
    depth = c // heads
    weights, biases = np.split(module.array("in_proj_weight"), 3), np.split(module.array("in_proj_bias"), 3)
    parts = []
    for name, source, weight, bias in zip("qkv", (query, query, value), weights, biases, strict=True):
        projected = layers.linear(builder, f"{path}.{name}", source, weight, bias)
        split = builder.reshape(f"{path}.{name}", projected, (n, tokens, heads, depth))
        parts.append(builder.transpose(f"{path}.{name}", split, (0, 2, 3, 1) if name == "k" else (0, 2, 1, 3)))
    logits = builder.add("MatMul", path, parts[:2], (n, heads, tokens, tokens))
    scaled = builder.elementwise("Mul", path, logits, float(np.float32(depth**-0.5)))
    shares = builder.add("Softmax", path, [scaled], scaled.shape, {"axis": -1})
    mixed = builder.add("MatMul", path, [shares, parts[2]], (n, heads, tokens, depth))
    return child(
        emission,
        module,
        "out_proj",
        builder.reshape(path, builder.transpose(path, mixed, (0, 2, 1, 3)), (n, tokens, c)),
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """The feature maps that queries look at.

    Attributes:
        tokens: (1, cells of all levels, C), level after level, each by y, then x.
        grids: (height, width) of each level.
    """

    tokens: Value
    grids: tuple[tuple[int, int], ...]


def deformable_attention(emission: Emission, module: Module, query: Value, boxes: Value, memory: Memory) -> Value:
    """MSDeformAttn: each head of each query reads some points of every level around the query's box.

    Point p lies at center + offset_p / points * size / 2; the values there, interpolated between cells, are added with
    weights that are a softmax over the points of all levels.

    Args:
        emission: the graph.
        module: the attention.
        query: (1, Q, C).
        boxes: (1, Q, 4) center and size as fractions of the input.
        memory: what is looked at.
    """
    builder, path = emission.builder, module.path
    heads = layer_settings.whole_number(module, "n_heads", 0)
    points = layer_settings.whole_number(module, "n_points", 0)
    layer_settings.require_setting(module, "n_levels", len(memory.grids))
    _, queries, c = query.shape
    total = len(memory.grids) * points
    offsets = builder.reshape(path, child(emission, module, "sampling_offsets", query), (queries, heads, total, 2))
    weights = builder.reshape(path, child(emission, module, "attention_weights", query), (1, queries, heads, total))
    weights = builder.add("Softmax", path, [weights], weights.shape, {"axis": -1})
    center, size = builder.split(path, builder.reshape(path, boxes, (queries, 1, 1, 4)), [2, 2], 3)
    steps = builder.elementwise("Mul", path, builder.elementwise("Mul", path, offsets, 0.5 / points), size)
    places = builder.elementwise("Add", path, steps, center)
    places = builder.elementwise("Add", path, builder.elementwise("Mul", path, places, 2.0), -1.0)  # as GridSample's
    places = builder.transpose(path, places, (1, 0, 2, 3))
    depth = c // heads
    values = child(emission, module, "value_proj", memory.tokens)
    values = builder.transpose(path, builder.reshape(path, values, (values.shape[1], heads, depth)), (1, 2, 0))
    maps = builder.split(path, values, [h * w for h, w in memory.grids], 2)
    read = [
        builder.add(
            "GridSample",
            path,
            [builder.reshape(path, cells, (heads, depth, *grid)), place],
            (heads, depth, queries, points),
            {"align_corners": 0, "mode": "bilinear", "padding_mode": "zeros"},
        )
        for cells, grid, place in zip(
            maps, memory.grids, builder.split(path, places, [points] * len(maps), 2), strict=True
        )
    ]
    shares = builder.reshape(path, builder.transpose(path, weights, (0, 2, 1, 3)), (heads, 1, queries, total))
    weighted = builder.elementwise("Mul", path, builder.concat(path, read, 3), shares)
    axes = builder.constant(f"{path}.axes", np.array([3], np.int64))
    mixed = builder.add("ReduceSum", path, [weighted, axes], (heads, depth, queries), {"keepdims": 0})
    mixed = builder.transpose(path, builder.reshape(path, mixed, (1, c, queries)), (0, 2, 1))
    return child(emission, module, "output_proj", mixed)


def _aifi(emission: Emission, module: Module, inputs: Sequence[Value]) -> Value:
    """A transformer layer over the cells of (1, C, H, W), with sines and cosines of their places added to its queries.

    norm2(y + fc2(act(fc1(y)))) with y = norm1(x + ma(x + place, x)).
    """
    builder, path = emission.builder, module.path
    layer_settings.require_setting(module, "normalize_before", False)
    n, c, h, w = one(module, inputs).shape
    value = builder.transpose(path, builder.reshape(path, inputs[0], (n, c, h * w)), (0, 2, 1))
    placed = builder.elementwise("Add", path, value, _places(h, w, c))
    mixed = self_attention(emission, module.child("ma"), placed, value)
    value = layer_norm(builder, module.child("norm1"), builder.elementwise("Add", path, value, mixed))
    inner = child(emission, module, "act", child(emission, module, "fc1", value))
    inner = child(emission, module, "fc2", inner)
    value = layer_norm(builder, module.child("norm2"), builder.elementwise("Add", path, value, inner))
    return builder.reshape(path, builder.transpose(path, value, (0, 2, 1)), (n, c, h, w))


def _places(height: int, width: int, channels: int) -> NDArray[np.float32]:
    """AIFI's encoding of the cells' places, (1, cells, C): sin and cos of y, then of x, at C / 4 frequencies each."""
    count = channels // 4
    frequencies = (1 / np.float32(_TEMPERATURE) ** (np.arange(count, dtype=np.float32) / count)).astype(np.float32)
    y, x = (axis.reshape(-1, 1).astype(np.float32) * frequencies for axis in np.indices((height, width)))
    places: NDArray[np.float32] = np.concatenate([np.sin(y), np.cos(y), np.sin(x), np.cos(x)], axis=1)[None]
    return places


TRANSFORMER_BLOCKS: dict[str, Emitter] = {
    "AIFI": _aifi,
    "MLP": lambda emission, module, inputs: perceptron(emission, module, one(module, inputs)),
    "LayerNorm": lambda emission, module, inputs: layer_norm(emission.builder, module, one(module, inputs)),
}
