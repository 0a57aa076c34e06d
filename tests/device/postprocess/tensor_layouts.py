"""The same head tensor as runtimes lay it out in memory."""

from __future__ import annotations

import numpy as np

from rkdeploy.device.runtime.protocol import HeadTensor


def as_nhwc(tensor: HeadTensor) -> HeadTensor:
    """A view of memory in the order NHWC."""
    values = np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return HeadTensor(values, tensor.scale, tensor.zero_point)


def as_slice(tensor: HeadTensor) -> HeadTensor:
    """A part of a larger buffer, which holds something else around it."""
    _, channels, height, width = tensor.values.shape
    buffer = np.full((1, channels + 5, height + 1, width + 3), 99, tensor.values.dtype)
    buffer[:, :channels, :height, :width] = tensor.values
    return HeadTensor(buffer[:, :channels, :height, :width], tensor.scale, tensor.zero_point)


def as_packed(tensor: HeadTensor, lanes: int) -> HeadTensor:
    """(1, C1, H, W, C2): channel c at block c // lanes, lane c % lanes; rubbish in the padding."""
    _, channels, height, width = tensor.values.shape
    blocks = -(-channels // (2 * lanes)) * 2
    packed = np.full((1, blocks, height, width, lanes), 99, tensor.values.dtype)
    for channel in range(channels):
        packed[0, channel // lanes, :, :, channel % lanes] = tensor.values[0, channel]
    return HeadTensor(packed, tensor.scale, tensor.zero_point, channels)


def in_every_layout(tensors: list[HeadTensor]) -> dict[str, list[HeadTensor]]:
    """All of them."""
    return {
        "nhwc": [as_nhwc(tensor) for tensor in tensors],
        "slice": [as_slice(tensor) for tensor in tensors],
        "16 lanes": [as_packed(tensor, 16) for tensor in tensors],
        "4 lanes": [as_packed(tensor, 4) for tensor in tensors],
        "3 lanes": [as_packed(tensor, 3) for tensor in tensors],
        "1 lane": [as_packed(tensor, 1) for tensor in tensors],
    }
