"""Addresses of arrays for the C code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.layout import address


def _read_only() -> NDArray[np.int8]:
    array = np.arange(6, dtype=np.int8)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 2, 3, 4), np.int8),
        np.zeros((1, 2, 3, 4), np.float16),
        np.zeros((1, 3, 4, 2), np.uint8).transpose(0, 3, 1, 2),
        np.arange(10, dtype=np.int32)[3:],
        np.arange(10, dtype=np.int32)[::-1],
        np.frombuffer(b"012345", np.uint8),
        np.empty((0, 4), np.float32),
        _read_only(),
    ],
    ids=["block", "float16", "nhwc", "behind the start", "backwards", "of bytes", "empty", "read-only"],
)
def test_first_element(array: NDArray[Any]) -> None:
    """The address is that of the first element, whatever the layout."""
    assert address(array) == array.__array_interface__["data"][0]


def test_nothing_holds_the_array() -> None:
    """An array whose address was asked for may be resized, which a buffer in use forbids."""
    array = np.zeros(4, np.float32)
    address(array)
    array.resize(1000, refcheck=False)
    assert len(array) == 1000
