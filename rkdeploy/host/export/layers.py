"""Emitters for torch's own layers: convolution with normalization folded, pooling, resizing, activations, linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value

_MAX_EXTENT = 4096
_MAX_FACTOR = 64


def pair(value: Any, module: Module, name: str) -> tuple[int, int]:
    """A kernel size, stride or padding as (height, width); torch stores one number or two."""
    values = value if isinstance(value, (tuple, list)) else (value, value)
    least = 0 if "padding" in name else 1
    if len(values) != 2 or not all(type(v) is int and least <= v <= _MAX_EXTENT for v in values):
        raise GraphError(
            f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected one or two integers '
            f"from {least} to {_MAX_EXTENT}."
        )
    return (values[0], values[1])


def number(module: Module, name: str, default: float) -> float:
    """A finite number that the module stores as a plain attribute."""
    value = module.attribute(name, default)
    if not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise GraphError(f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected a number.')
    return float(value)


def whole_number(module: Module, name: str, default: int) -> int:
    """A number of groups, heads or the like: 1 or more."""
    value = module.attribute(name, default)
    if type(value) is not int or not 1 <= value <= 1 << 16:
        raise GraphError(f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected 1 or more.')
    return value


def require_setting(module: Module, name: str, *allowed: object) -> None:
    """Check that an attribute read by the trained forward pass has a value supported by the emitter, or is not stored.

    Raises:
        GraphError: for another value, which would give a graph that computes something else.
    """
    value = module.attribute(name)
    if value is not None and not any(type(value) is type(known) and value == known for known in allowed):
        expected = " or ".join(map(str, allowed))
        raise GraphError(
            f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected {expected}.',
            "Export ONNX where the model was trained and build from that: rkdeploy build best.onnx --weights best.pt",
        )


def batch_norm_scale(norm: Module) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A trained BatchNorm as y = scale * x + shift, each (C,) float64.

    With running mean m and variance v: scale = weight / sqrt(v + eps), shift = bias - m * scale.
    """
    mean = norm.array("running_mean").astype(np.float64)
    variance = norm.array("running_var").astype(np.float64)
    eps = number(norm, "eps", 1e-5)
    if (variance + eps <= 0).any():
        raise GraphError(f'"{norm.path}" has a running variance below zero; the checkpoint is damaged.')
    weight = norm.array("weight").astype(np.float64) if "weight" in norm.tensors else np.ones_like(mean)
    bias = norm.array("bias").astype(np.float64) if "bias" in norm.tensors else np.zeros_like(mean)
    if not mean.shape == variance.shape == weight.shape == bias.shape == (mean.size,):
        raise GraphError(
            f'"{norm.path}" has mean {mean.shape}, variance {variance.shape}, weight {weight.shape} and bias '
            f"{bias.shape}, expected one number per channel in each."
        )
    scale = weight / np.sqrt(variance + eps)
    return scale, bias - mean * scale


def convolution(
    builder: GraphBuilder,
    conv: Module,
    value: Value,
    norm: Module | None = None,
    weight: NDArray[Any] | None = None,
    bias: NDArray[np.float64] | None = None,
    **changes: tuple[int, int],
) -> Value:
    """Conv2d, with a following BatchNorm folded into its weights (in float64).

    Args:
        builder: the graph.
        conv: the nn.Conv2d.
        value: (N, C, H, W).
        norm: the BatchNorm behind it.
        weight: replaces the module's weights, (out, in / groups, kh, kw); with `changes` for an equivalent rewrite.
        bias: replaces the module's bias, (out,).
        changes: `stride`, `padding`, `dilation` that replace the module's.
    """
    if weight is None:
        weight = conv.array("weight")
    if weight.ndim != 4:
        raise GraphError(f'"{conv.path}.weight" has shape {weight.shape}, expected (out, in, height, width).')
    groups = whole_number(conv, "groups", 1)
    stride = changes.get("stride") or pair(conv.attribute("stride", 1), conv, "stride")
    dilation = changes.get("dilation") or pair(conv.attribute("dilation", 1), conv, "dilation")
    kernel = (weight.shape[2], weight.shape[3])
    if "padding" in changes:
        padding = changes["padding"]
    elif conv.attribute("padding") == "same":
        if kernel[0] % 2 == 0 or kernel[1] % 2 == 0:
            raise GraphError(f'"{conv.path}" pads an even kernel {kernel} to the same size, which is not supported.')
        padding = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    else:
        padding = pair(conv.attribute("padding", 0), conv, "padding")
    if conv.attribute("padding_mode", "zeros") != "zeros":
        raise GraphError(f'"{conv.path}" pads with {shown(conv.attribute("padding_mode"))}, expected zeros.')
    if len(value.shape) != 4 or weight.shape[1] * groups != value.channels:
        raise GraphError(
            f'"{conv.path}" takes {weight.shape[1] * groups} channels, but its input has the shape {value.shape}.'
        )
    if bias is None:
        bias = conv.array("bias").astype(np.float64) if "bias" in conv.tensors else np.zeros(weight.shape[0])
    if bias.shape != (weight.shape[0],):
        raise GraphError(f'"{conv.path}" has a bias of shape {bias.shape} for {weight.shape[0]} channels.')
    folded = weight.astype(np.float64)
    if norm is not None:
        scale, shift = batch_norm_scale(norm)
        if scale.shape != bias.shape:
            raise GraphError(f'"{norm.path}" normalizes {scale.size} channels, its convolution gives {bias.size}.')
        folded = folded * scale[:, None, None, None]
        bias = bias * scale + shift
    size = [
        floor((n + 2 * p - d * (k - 1) - 1) / s + 1)
        for n, p, d, k, s in zip(value.shape[2:], padding, dilation, kernel, stride, strict=True)
    ]
    if min(size) < 1:
        raise GraphError(f'"{conv.path}" has a kernel of {kernel}, too large for its input {value.shape}.')
    return builder.add(
        "Conv",
        conv.path,
        [
            value,
            builder.constant(f"{conv.path}.weight", folded.astype(np.float32)),
            builder.constant(f"{conv.path}.bias", bias.astype(np.float32)),
        ],
        (value.shape[0], weight.shape[0], *size),
        {
            "kernel_shape": list(kernel),
            "strides": list(stride),
            "pads": [padding[0], padding[1], padding[0], padding[1]],
            "dilations": list(dilation),
            "group": groups,
        },
    )


def transposed_convolution(builder: GraphBuilder, conv: Module, value: Value, norm: Module | None = None) -> Value:
    """ConvTranspose2d, with a following BatchNorm folded into its weights (in, out / groups, kh, kw)."""
    weight = conv.array("weight").astype(np.float64)
    groups = whole_number(conv, "groups", 1)
    stride = pair(conv.attribute("stride", 1), conv, "stride")
    padding = pair(conv.attribute("padding", 0), conv, "padding")
    dilation = pair(conv.attribute("dilation", 1), conv, "dilation")
    extra = pair(conv.attribute("output_padding", 0), conv, "output_padding")
    require_setting(conv, "padding_mode", "zeros")
    if weight.ndim != 4 or weight.shape[0] != value.channels:
        raise GraphError(f'"{conv.path}" has weights {weight.shape} for an input of shape {value.shape}.')
    out = weight.shape[1] * groups
    bias = conv.array("bias").astype(np.float64) if "bias" in conv.tensors else np.zeros(out)
    if norm is not None:
        scale, shift = batch_norm_scale(norm)
        per_group = scale.reshape(groups, 1, weight.shape[1]).repeat(weight.shape[0] // groups, 1)
        weight = weight * per_group.reshape(weight.shape[0], weight.shape[1])[:, :, None, None]
        bias = bias * scale + shift
    kernel = (weight.shape[2], weight.shape[3])
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(value.shape[2:], stride, padding, dilation, kernel, extra, strict=True)
    ]
    return builder.add(
        "ConvTranspose",
        conv.path,
        [
            value,
            builder.constant(f"{conv.path}.weight", weight.astype(np.float32)),
            builder.constant(f"{conv.path}.bias", bias.astype(np.float32)),
        ],
        (value.shape[0], out, *size),
        {
            "kernel_shape": list(kernel),
            "strides": list(stride),
            "pads": [padding[0], padding[1], padding[0], padding[1]],
            "dilations": list(dilation),
            "output_padding": list(extra),
            "group": groups,
        },
    )


def batch_norm(builder: GraphBuilder, norm: Module, value: Value) -> Value:
    """A BatchNorm without a convolution before it, as multiply and add."""
    scale, shift = (v.astype(np.float32)[None, :, None, None] for v in batch_norm_scale(norm))
    scaled = builder.elementwise("Mul", norm.path, value, scale)
    return builder.elementwise("Add", norm.path, scaled, shift)


def max_pool(builder: GraphBuilder, pool: Module, value: Value) -> Value:
    """MaxPool2d."""
    kernel = pair(pool.attribute("kernel_size"), pool, "kernel_size")
    stride = pair(pool.attribute("stride") or kernel, pool, "stride")
    padding = pair(pool.attribute("padding", 0), pool, "padding")
    dilation = pair(pool.attribute("dilation", 1), pool, "dilation")
    require_setting(pool, "return_indices", False)
    ceil_mode = bool(pool.attribute("ceil_mode", False))
    size = []
    for n, k, s, p, d in zip(value.shape[2:], kernel, stride, padding, dilation, strict=True):
        span = n + 2 * p - d * (k - 1) - 1
        count = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:  # torch's rule: a window must start inside the input
            count -= 1
        size.append(count)
    return builder.add(
        "MaxPool",
        pool.path,
        [value],
        (*value.shape[:2], *size),
        {
            "kernel_shape": list(kernel),
            "strides": list(stride),
            "pads": [padding[0], padding[1], padding[0], padding[1]],
            "dilations": list(dilation),
            "ceil_mode": int(ceil_mode),
        },
    )


def average_pool(builder: GraphBuilder, pool: Module, value: Value) -> Value:
    """AvgPool2d that counts the zeros of its padding.

    With padding it is written as a depthwise convolution: OpenCV 4.11 does not count the padding of an AveragePool,
    whatever the node says.

    Raises:
        GraphError: when it rounds its size up, does not count the padding or divides by another number.
    """
    kernel = pair(pool.attribute("kernel_size"), pool, "kernel_size")
    stride = pair(pool.attribute("stride") or kernel, pool, "stride")
    padding = pair(pool.attribute("padding", 0), pool, "padding")
    plain = not pool.attribute("ceil_mode", False) and pool.attribute("divisor_override") is None
    if not plain or (any(padding) and not pool.attribute("count_include_pad", True)):
        raise GraphError(f'"{pool.path}" (AvgPool2d) averages in a way that is not supported.')
    if any(padding):
        weight = np.full((value.channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        bias = np.zeros(value.channels)
        conv = replace(pool, attributes={"groups": value.channels})
        return convolution(builder, conv, value, weight=weight, bias=bias, stride=stride, padding=padding)
    size = [(n - k) // s + 1 for n, k, s in zip(value.shape[2:], kernel, stride, strict=True)]
    return builder.add(
        "AveragePool",
        pool.path,
        [value],
        (*value.shape[:2], *size),
        {"kernel_shape": list(kernel), "strides": list(stride), "pads": [0, 0, 0, 0]},
    )


def upsample(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """nn.Upsample, nearest or bilinear, by a factor or to a size."""
    size, factor = module.attribute("size"), module.attribute("scale_factor")
    require_setting(module, "recompute_scale_factor", False, True)
    mode = module.attribute("mode", "nearest")
    height, width = value.shape[2:]
    if size is not None:
        target = pair(size, module, "size")
    else:
        factors = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        if len(factors) != 2 or not all(isinstance(f, (int, float)) and 0 < f <= _MAX_FACTOR for f in factors):
            raise GraphError(
                f'"{module.path}" (Upsample) has the scale factor {shown(factor)} and no size, expected a factor up to '
                f"{_MAX_FACTOR}."
            )
        target = (floor(height * factors[0]), floor(width * factors[1]))
        whole = target == (height * factors[0], width * factors[1])
        if not whole and not module.attribute("recompute_scale_factor"):  # in this case torch samples at i / factor
            raise GraphError(
                f'"{module.path}" (Upsample) makes {height} x {width} larger by {shown(factor)}, which gives no whole '
                "numbers of cells.",
                "Choose an --imgsz that divides by more.",
            )
    if mode == "nearest":
        attributes: dict[str, str] = {
            "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
        }  # fmt: skip
    elif mode == "bilinear":
        corners = bool(module.attribute("align_corners"))
        attributes = {
            "mode": "linear",
            "coordinate_transformation_mode": "align_corners" if corners else "half_pixel",
        }
    else:
        raise GraphError(f'"{module.path}" (Upsample) interpolates with {shown(mode)}, expected nearest or bilinear.')
    scales = builder.constant(
        f"{module.path}.scales", np.array([1, 1, target[0] / height, target[1] / width], np.float32)
    )
    return builder.add("Resize", module.path, [value, "", scales], (*value.shape[:2], *target), attributes)


def resize_nearest(builder: GraphBuilder, path: str, value: Value, hw: tuple[int, int]) -> Value:
    """Nearest-neighbor resizing to (height, width), as in F.interpolate: cell floor(i * in / out)."""
    if value.shape[2:] == hw:
        return value
    height, width = value.shape[2:]
    scales = builder.constant(f"{path}.scales", np.array([1, 1, hw[0] / height, hw[1] / width], np.float32))
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return builder.add("Resize", path, [value, "", scales], (*value.shape[:2], *hw), attributes)


def zero_pad(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """nn.ZeroPad2d, (left, right, top, bottom), as concatenations with zeros.

    Not as a Pad node: onnxruntime (seen in 1.20) fuses it into a following MaxPool, whose padding is not zero but
    minus infinity, and changes the values.
    """
    require_setting(module, "value", 0, 0.0)
    padding = module.attribute("padding", 0)
    left, right, top, bottom = padding if isinstance(padding, (tuple, list)) else (padding,) * 4
    for axis, before, after in ((3, left, right), (2, top, bottom)):
        parts = [*_zeros(builder, module, value, axis, before), value, *_zeros(builder, module, value, axis, after)]
        value = builder.concat(module.path, parts, axis) if len(parts) > 1 else value
    return value


def _zeros(builder: GraphBuilder, module: Module, value: Value, axis: int, size: int) -> list[Value]:
    if type(size) is not int or not 0 <= size <= _MAX_EXTENT:
        raise GraphError(f'"{module.path}" (ZeroPad2d) pads by {shown(size)}, expected 0 to {_MAX_EXTENT}.')
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    zeros = builder.constant(f"{module.path}.zeros", np.zeros(shape, np.float32)) if size else ""
    return [Value(zeros, shape)] if size else []


def linear(builder: GraphBuilder, path: str, value: Value, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
    """Matrix product x W^T + b over the last dimension; weight (out, in)."""
    matrix = builder.constant(f"{path}.weight", np.ascontiguousarray(weight.T.astype(np.float32)))
    product = builder.add("MatMul", path, [value, matrix], (*value.shape[:-1], weight.shape[0]))
    return product if bias is None else builder.elementwise("Add", path, product, bias.astype(np.float32))


def linear_module(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """nn.Linear."""
    bias = module.array("bias") if "bias" in module.tensors else None
    return linear(builder, module.path, value, module.array("weight"), bias)


def mean_hw(builder: GraphBuilder, module: Module, value: Value) -> Value:
    """AdaptiveAvgPool2d to one cell.

    Raises:
        GraphError: for another output size.
    """
    if module.attribute("output_size", 1) not in (1, (1, 1), [1, 1]):
        raise GraphError(
            f'"{module.path}" (AdaptiveAvgPool2d) pools to {module.attribute("output_size")!r:.40}, expected 1.'
        )
    return builder.add("GlobalAveragePool", module.path, [value], (*value.shape[:2], 1, 1))


# Activations, by class name; old releases of YOLOv5 defined their own under the same names.


def _silu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    gate = builder.add("Sigmoid", module.path, [value], value.shape)
    return builder.elementwise("Mul", module.path, value, gate)


def _hardswish(builder: GraphBuilder, module: Module, value: Value) -> Value:
    gate = builder.add("HardSigmoid", module.path, [value], value.shape, {"alpha": 1 / 6, "beta": 0.5})
    return builder.elementwise("Mul", module.path, value, gate)


def _mish(builder: GraphBuilder, module: Module, value: Value) -> Value:
    soft = builder.add("Softplus", module.path, [value], value.shape)
    return builder.elementwise("Mul", module.path, value, builder.add("Tanh", module.path, [soft], value.shape))


def _leaky_relu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    slope = number(module, "negative_slope", 0.01)
    return builder.add("LeakyRelu", module.path, [value], value.shape, {"alpha": slope})


def _relu6(builder: GraphBuilder, module: Module, value: Value) -> Value:
    low = builder.constant(f"{module.path}.min", np.array(0, np.float32))
    high = builder.constant(f"{module.path}.max", np.array(6, np.float32))
    return builder.add("Clip", module.path, [value, low, high], value.shape)


def _prelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    slope = builder.constant(f"{module.path}.slope", module.array("weight").reshape(-1, 1, 1))
    return builder.add("PRelu", module.path, [value, slope], value.shape)


def _elu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    return builder.add("Elu", module.path, [value], value.shape, {"alpha": number(module, "alpha", 1.0)})


def _gelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    if module.attribute("approximate", "none") != "none":
        raise GraphError(f'"{module.path}" is the tanh approximation of GELU, which is not supported.')
    erf = builder.add("Erf", module.path, [builder.elementwise("Mul", module.path, value, 0.5**0.5)], value.shape)
    half = builder.elementwise("Mul", module.path, value, 0.5)
    return builder.elementwise("Mul", module.path, half, builder.elementwise("Add", module.path, erf, 1.0))


def _frelu(builder: GraphBuilder, module: Module, value: Value) -> Value:
    spatial = convolution(builder, module.child("conv"), value, module.child("bn"))
    return builder.add("Max", module.path, [value, spatial], value.shape)


def _unary(op: str) -> Callable[[GraphBuilder, Module, Value], Value]:
    def emit(builder: GraphBuilder, module: Module, value: Value) -> Value:
        return builder.add(op, module.path, [value], value.shape)

    return emit


def _nothing(_builder: GraphBuilder, _module: Module, value: Value) -> Value:
    return value


ACTIVATIONS: dict[str, Callable[[GraphBuilder, Module, Value], Value]] = {
    "SiLU": _silu,
    "Swish": _silu,
    "MemoryEfficientSwish": _silu,
    "Hardswish": _hardswish,
    "Mish": _mish,
    "MemoryEfficientMish": _mish,
    "LeakyReLU": _leaky_relu,
    "ReLU": _unary("Relu"),
    "ReLU6": _relu6,
    "Sigmoid": _unary("Sigmoid"),
    "Tanh": _unary("Tanh"),
    "PReLU": _prelu,
    "ELU": _elu,
    "GELU": _gelu,
    "FReLU": _frelu,
    "Identity": _nothing,
}

LAYERS: dict[str, Callable[[GraphBuilder, Module, Value], Value]] = {
    **ACTIVATIONS,
    "Conv2d": convolution,
    "ConvTranspose2d": transposed_convolution,
    "DWConvTranspose2d": transposed_convolution,
    "BatchNorm2d": batch_norm,
    "SyncBatchNorm": batch_norm,
    "MaxPool2d": max_pool,
    "AvgPool2d": average_pool,
    "Upsample": upsample,
    "ZeroPad2d": zero_pad,
    "Linear": linear_module,
    "Dropout": _nothing,
    "AdaptiveAvgPool2d": mean_hw,
}


def sequence(values: Value | Sequence[Value]) -> list[Value]:
    """One or several values as a list."""
    return [values] if isinstance(values, Value) else list(values)
