"""Emitters for layers that change the grid: pooling, resizing, padding with zeros."""

from __future__ import annotations

from dataclasses import replace
from math import floor

import numpy as np

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.convolutions import convolution
from rkdeploy.host.export.layer_settings import MAX_EXTENT, pair, require_setting

_MAX_FACTOR = 64


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
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
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


def resize_between_corners(builder: GraphBuilder, path: str, value: Value, hw: tuple[int, int]) -> Value:
    """Bilinear resizing to (height, width) with corners on corners, as in F.interpolate(..., align_corners=True)."""
    sizes = builder.constant(f"{path}.sizes", np.array([*value.shape[:2], *hw], np.int64))
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return builder.add("Resize", path, [value, "", "", sizes], (*value.shape[:2], *hw), attributes)


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
    if type(size) is not int or not 0 <= size <= MAX_EXTENT:
        raise GraphError(f'"{module.path}" (ZeroPad2d) pads by {shown(size)}, expected 0 to {MAX_EXTENT}.')
    shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
    zeros = builder.constant(f"{module.path}.zeros", np.zeros(shape, np.float32)) if size else ""
    return [Value(zeros, shape)] if size else []
