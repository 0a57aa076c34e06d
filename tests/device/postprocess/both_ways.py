"""The same decode by numpy and by the C library, and head tensors in unusual memory layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.decoder import Candidates
from rkdeploy.device.postprocess.native.decode_library import DECODE_VARIABLE, decode_choice
from rkdeploy.device.runtime.protocol import HeadTensor

T = TypeVar("T")


@contextmanager
def decoded_by(name: str) -> Iterator[None]:
    """Decoders that are made inside, and NMS that is done inside, are of this kind: `numpy` or `native`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DECODE_VARIABLE, name)
        decode_choice.cache_clear()
        try:
            yield
        finally:
            decode_choice.cache_clear()


def both_ways(make: Callable[[], T]) -> tuple[T, T]:
    """Results of a call with numpy, and with the C library."""
    with decoded_by("numpy"):
        by_numpy = make()
    with decoded_by("native"):
        return by_numpy, make()


def assert_same(found: Candidates, expected: Candidates, *, largest_px: float) -> None:
    """The same rows, classes and scores to the bit; boxes within float32 rounding of boxes of up to `largest_px`."""
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (found.rows.dtype, found.class_ids.dtype) == (expected.rows.dtype, expected.class_ids.dtype)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=1e-5, atol=largest_px * 2e-6)
    if expected.rotated is not None:
        assert found.rotated is not None
        np.testing.assert_allclose(found.rotated, expected.rotated, rtol=1e-5, atol=largest_px * 2e-6)


def backwards(tensor: HeadTensor) -> HeadTensor:
    """Negative strides."""
    values = np.ascontiguousarray(tensor.values[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    return HeadTensor(values, tensor.scale, tensor.zero_point)


def by_columns(tensor: HeadTensor) -> HeadTensor:
    """x varies slowest."""
    values = np.ascontiguousarray(tensor.values.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    return HeadTensor(values, tensor.scale, tensor.zero_point)


def unaligned(tensor: HeadTensor) -> HeadTensor:
    """At an odd address, and not to be written to."""
    memory = np.empty(tensor.values.nbytes + 1, np.uint8)
    memory[1:] = np.ascontiguousarray(tensor.values).view(np.uint8).ravel()
    values: NDArray[Any] = memory[1:].view(tensor.values.dtype).reshape(tensor.values.shape)
    values.flags.writeable = False
    return HeadTensor(values, tensor.scale, tensor.zero_point)


def in_wide_cells(tensor: HeadTensor) -> HeadTensor:
    """NHWC with something else behind the channels of each cell."""
    _, channels, height, width = tensor.values.shape
    cells = np.full((1, height, width, channels + 3), 99, tensor.values.dtype)
    cells[..., :channels] = tensor.values.transpose(0, 2, 3, 1)
    return HeadTensor(cells[..., :channels].transpose(0, 3, 1, 2), tensor.scale, tensor.zero_point)


def in_long_rows(tensor: HeadTensor) -> HeadTensor:
    """NHWC with something else behind each row of cells."""
    _, channels, height, width = tensor.values.shape
    rows = np.full((1, height, width + 2, channels), 99, tensor.values.dtype)
    rows[:, :, :width] = tensor.values.transpose(0, 2, 3, 1)
    return HeadTensor(rows[:, :, :width].transpose(0, 3, 1, 2), tensor.scale, tensor.zero_point)


ODD_LAYOUTS: dict[str, Callable[[HeadTensor], HeadTensor]] = {
    "backwards": backwards,
    "by columns": by_columns,
    "unaligned": unaligned,
    "wide cells": in_wide_cells,
    "long rows": in_long_rows,
}
