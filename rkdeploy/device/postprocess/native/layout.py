"""Description of a head tensor for the C code, see tensor.h."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.score_search import Limit
from rkdeploy.device.runtime.protocol import HeadTensor

_KINDS: Final = {np.dtype(name): kind for kind, name in enumerate(("int8", "uint8", "int16", "float16", "float32"))}
LANES: Final = 32
"""Cells that the C code processes side by side."""
_Start: Final = ctypes.c_char * 0
"""The place where a buffer begins."""
_NONE, _AT_LEAST, _BITS_AT_MOST = range(3)


class TensorLayout(ctypes.Structure):
    """`struct tensor`."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("block_stride", ctypes.c_int64),
        ("lane_stride", ctypes.c_int64),
        ("y_stride", ctypes.c_int64),
        ("x_stride", ctypes.c_int64),
        ("channels", ctypes.c_int32),
        ("lanes", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("kind", ctypes.c_int32),
        ("zero_point", ctypes.c_float),
        ("scale", ctypes.c_float),
    )


class RawLimit(ctypes.Structure):
    """`struct limit`."""

    _fields_ = (("rule", ctypes.c_int32), ("bound", ctypes.c_int32))


def layout_of(tensor: HeadTensor) -> TensorLayout:
    """Everything but the address of the values, which changes from frame to frame.

    Args:
        tensor: checked by `require_tensors`.
    """
    values = tensor.values
    if tensor.packed_channels is None:
        _, channels, height, width = values.shape
        _, channel_stride, y_stride, x_stride = values.strides
        # NHWC is one block with as many lanes as there are channels.
        beside = channel_stride == values.itemsize
        lanes, block_stride, lane_stride = channels if beside else 1, channel_stride, values.itemsize
    else:
        channels = tensor.packed_channels
        _, _, height, width, lanes = values.shape
        _, block_stride, y_stride, x_stride, lane_stride = values.strides
    return TensorLayout(
        None, block_stride, lane_stride, y_stride, x_stride, channels, lanes, height, width, _KINDS[values.dtype],
        tensor.zero_point, tensor.scale,
    )  # fmt: skip


def raw_limit_of(limit: Limit | None) -> RawLimit:
    """The limit in the form that the C code compares."""
    if limit is None:
        return RawLimit(_NONE, 0)
    return RawLimit(_BITS_AT_MOST if limit.passes is np.less_equal else _AT_LEAST, int(limit.bound))


def address(array: NDArray[Any]) -> int:
    """Address of an array's first element, valid until the array is freed or resized.

    Most are asked for in every frame, and `ndarray.ctypes` takes three times as long as a buffer, which has to be one
    block that may be written to.
    """
    flags = array.flags
    if flags.c_contiguous and flags.writeable:
        return ctypes.addressof(_Start.from_buffer(array))  # type: ignore[arg-type]  # arrays are buffers, unsaid in stubs
    return int(array.ctypes.data)
