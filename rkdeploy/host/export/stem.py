"""The first layer of a network on the image, in equal forms that cost the NPU differently.

YOLOv5 up to v5.0 begins with Focus: the four pixel phases of the image become 12 channels, then a 3x3 convolution.
From v6.0 it begins with one 6x6 convolution of stride 2, which is equivalent.  An NPU that pads
three input channels to 16 or 32 wastes most of a 6x6x3 kernel, so the compile log predicts fewer cycles for phases;
docs/build.md has the figures.  Three forms, for either kind of stem:

- `space_to_depth`: the phases by a 2x2 convolution of stride 2 whose kernel has a single one per output channel;
- `slices`: the phases by four strided slices and a concatenation;
- `convolution`: one convolution of stride 2 with a kernel twice as large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.errors import GraphError
from rkdeploy.host.checkpoint import Module
from rkdeploy.host.export import convolutions, layer_settings
from rkdeploy.host.export.builder import GraphBuilder, Value

_PHASES = ((0, 0), (1, 0), (0, 1), (1, 1))
"""(row, column) offsets, in Focus's order: channel q * C + c is channel c of phase q."""

_IMAGE_CHANNELS = (1, 3)  # gray, color


def is_plain(conv: Module) -> bool:
    """True if a convolution has stride 1, dilation 1 and one group, like Focus's."""
    return (
        conv.attribute("groups", 1) == 1
        and layer_settings.pair(conv.attribute("stride", 1), conv, "stride") == (1, 1)
        and layer_settings.pair(conv.attribute("dilation", 1), conv, "dilation") == (1, 1)
    )


def is_strided_stem(conv: Module, value: Value) -> bool:
    """True if a convolution on the image can be written over pixel phases: stride 2, even kernel and padding."""
    kernel = conv.array("weight").shape
    padding = conv.attribute("padding", 0)
    return (
        len(kernel) == 4
        and kernel[1] == value.channels
        and value.channels in _IMAGE_CHANNELS
        and kernel[2] >= 4
        and kernel[2] % 2 == kernel[3] % 2 == 0
        and value.shape[2] % 2 == value.shape[3] % 2 == 0
        and conv.attribute("groups", 1) == 1
        and conv.attribute("padding_mode", "zeros") == "zeros"
        and layer_settings.pair(conv.attribute("stride", 1), conv, "stride") == (2, 2)
        and layer_settings.pair(conv.attribute("dilation", 1), conv, "dilation") == (1, 1)
        and not isinstance(padding, str)
        and all(p % 2 == 0 for p in layer_settings.pair(padding, conv, "padding"))
    )


def phases(builder: GraphBuilder, path: str, value: Value, *, by_slices: bool) -> Value:
    """(N, C, H, W) to its four pixel phases, (N, 4 C, H / 2, W / 2).

    Raises:
        GraphError: when the size is odd.
    """
    n, c, h, w = value.shape
    if h % 2 or w % 2:
        raise GraphError(f'"{path}" needs an even input size, got {h}x{w}.')
    if by_slices:
        parts = []
        for row, column in _PHASES:
            bounds = [
                builder.constant(f"{path}.{name}", np.array(values, np.int64))
                for name, values in (("starts", (row, column)), ("ends", (h, w)), ("axes", (2, 3)), ("steps", (2, 2)))
            ]
            parts.append(builder.add("Slice", path, [value, *bounds], (n, c, h // 2, w // 2)))
        return builder.concat(path, parts, 1)
    weight = np.zeros((4 * c, c, 2, 2), np.float32)
    for phase, (row, column) in enumerate(_PHASES):
        for channel in range(c):
            weight[phase * c + channel, channel, row, column] = 1
    return builder.add(
        "Conv",
        f"{path}.space_to_depth",
        [value, builder.constant(f"{path}.space_to_depth.weight", weight)],
        (n, 4 * c, h // 2, w // 2),
        {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1},
    )


def strided_convolution(builder: GraphBuilder, conv: Module, norm: Module | None, value: Value) -> Value:
    """Focus and the following convolution as one convolution of stride 2."""
    padding = layer_settings.pair(conv.attribute("padding", 0), conv, "padding")
    weight = strided_weight(conv.array("weight"))
    return convolutions.convolution(
        builder, conv, value, norm, weight, stride=(2, 2), padding=(2 * padding[0], 2 * padding[1])
    )


def phase_convolution(builder: GraphBuilder, conv: Module, norm: Module | None, value: Value) -> Value:
    """A convolution of stride 2 on the image, as the equal convolution of stride 1 on its phases."""
    padding = layer_settings.pair(conv.attribute("padding", 0), conv, "padding")
    weight = phase_weight(conv.array("weight"))
    return convolutions.convolution(
        builder, conv, value, norm, weight, stride=(1, 1), padding=(padding[0] // 2, padding[1] // 2)
    )


def strided_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out, 4 C, k, k) over phases to (out, C, 2 k, 2 k) over pixels, stride 2.

    Phase channel q * C + c at (u, v) is input channel c at (2 u + row, 2 v + column), with (row, column) the q-th
    phase; so tap (a, b) of that channel is tap (2 a + row, 2 b + column) of input channel c.
    """
    out, four_c, kh, kw = weight.shape
    c = four_c // 4
    spread = np.zeros((out, c, 2 * kh, 2 * kw), np.float32)
    for phase, (row, column) in enumerate(_PHASES):
        spread[:, :, row::2, column::2] = weight[:, phase * c : (phase + 1) * c]
    return spread


def phase_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of `strided_weight`: (out, C, 2 k, 2 k) over pixels to (out, 4 C, k, k) over phases."""
    return np.concatenate([weight[:, :, row::2, column::2] for row, column in _PHASES], axis=1)
