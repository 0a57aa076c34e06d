from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.device.postprocess.anchor_heads import AnchorHead
from tests.device.postprocess.both_ways import assert_same, both_ways
from tests.device.postprocess.point_heads import PointHead
from tests.device.postprocess.tensor_layouts import as_packed

_PAGE = mmap.PAGESIZE


def between_closed_pages(values: NDArray[Any], *, at_the_end: bool) -> NDArray[Any]:
    """A copy adjacent to a page that cannot be read: right before it, or right behind one."""
    pages = -(-values.nbytes // _PAGE)
    memory = mmap.mmap(-1, (pages + 2) * _PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for page in (0, pages + 1):
        assert libc.mprotect(ctypes.c_void_p(start + page * _PAGE), _PAGE, 0) == 0
    offset = (pages + 1) * _PAGE - values.nbytes if at_the_end else _PAGE
    copy: NDArray[Any] = np.frombuffer(memory, values.dtype, values.size, offset).reshape(values.shape)
    copy[:] = values
    return copy


@pytest.mark.parametrize("at_the_end", [True, False])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "16 lanes", "3 lanes"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_nothing_is_read_outside(dtype: str, layout: str, at_the_end: bool) -> None:
    """Neither before nor behind a tensor's memory is a byte read, wherever scores pass: that would end the process."""

    def placed(tensor: HeadTensor) -> HeadTensor:
        if layout == "nhwc":
            values = np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1))
            values = between_closed_pages(values, at_the_end=at_the_end).transpose(0, 3, 1, 2)
            return HeadTensor(values, tensor.scale, tensor.zero_point)
        if layout != "nchw":
            tensor = as_packed(tensor, int(layout.removesuffix(" lanes")))
        values = between_closed_pages(tensor.values, at_the_end=at_the_end)
        return HeadTensor(values, tensor.scale, tensor.zero_point, tensor.packed_channels)

    limits = np.full(3, 0.5, np.float32)
    points, anchors = PointHead(input_hw=(112, 80)), AnchorHead(input_hw=(112, 80))
    by_points, by_anchors = both_ways(lambda: PointDecoder(points.spec)), both_ways(lambda: AnchorDecoder(anchors.spec))
    for decoders, tensors in (
        (by_points, points.tensors(points.random(0), dtype)),
        (by_anchors, anchors.tensors(anchors.random(0), dtype)),
    ):
        there = [placed(tensor) for tensor in tensors]
        expected, found = (decoder.candidates(there, limits) for decoder in decoders)
        assert_same(found, expected, largest_px=256.0)
        assert len(found.rows) > 0
