"""Emitters for convolutions, with the normalization behind them folded in, and for normalization alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.layer_settings import number, pair, require_setting, whole_number


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
    window = _window(conv, (weight.shape[2], weight.shape[3]), changes)
    channels = weight.shape[1] * window.groups
    if len(value.shape) != 4 or channels != value.channels:
        raise GraphError(f'"{conv.path}" takes {channels} channels, but its input has the shape {value.shape}.')
    folded, folded_bias = _folded(conv, weight, bias, norm)
    size = window.output_size(value.shape[2:])
    if min(size) < 1:
        raise GraphError(f'"{conv.path}" has a kernel of {window.kernel}, too large for its input {value.shape}.')
    return builder.add(
        "Conv",
        conv.path,
        [
            value,
            builder.constant(f"{conv.path}.weight", folded.astype(np.float32)),
            builder.constant(f"{conv.path}.bias", folded_bias.astype(np.float32)),
        ],
        (value.shape[0], weight.shape[0], *size),
        {
            "kernel_shape": list(window.kernel),
            "strides": list(window.stride),
            "pads": [*window.padding, *window.padding],
            "dilations": list(window.dilation),
            "group": window.groups,
        },
    )


@dataclass(frozen=True, slots=True)
class _Window:
    """Geometry of a convolution: (height, width) of each part, and the groups of its channels."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def output_size(self, input_hw: Sequence[int]) -> list[int]:
        """Height and width of the output."""
        sides = zip(input_hw, self.padding, self.dilation, self.kernel, self.stride, strict=True)
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sides]


def _window(conv: Module, kernel: tuple[int, int], changes: Mapping[str, tuple[int, int]]) -> _Window:
    """The window of an nn.Conv2d, with what a rewrite changes of it."""
    groups = whole_number(conv, "groups", 1)
    stride = changes.get("stride") or pair(conv.attribute("stride", 1), conv, "stride")
    dilation = changes.get("dilation") or pair(conv.attribute("dilation", 1), conv, "dilation")
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
    return _Window(kernel, stride, padding, dilation, groups)


def _folded(
    conv: Module, weight: NDArray[Any], bias: NDArray[np.float64] | None, norm: Module | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and bias with a following BatchNorm folded in, float64."""
    if bias is None:
        bias = conv.array("bias").astype(np.float64) if "bias" in conv.tensors else np.zeros(weight.shape[0])
    if bias.shape != (weight.shape[0],):
        raise GraphError(f'"{conv.path}" has a bias of shape {bias.shape} for {weight.shape[0]} channels.')
    folded = weight.astype(np.float64)
    if norm is None:
        return folded, bias
    scale, shift = batch_norm_scale(norm)
    if scale.shape != bias.shape:
        raise GraphError(f'"{norm.path}" normalizes {scale.size} channels, its convolution gives {bias.size}.')
    return folded * scale[:, None, None, None], bias * scale + shift


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
