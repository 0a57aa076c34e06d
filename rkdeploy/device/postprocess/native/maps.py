"""Maps at source pixels by the C code (maps.c): their values, and the classes of planes of scores."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.native.layout import address, layout_of

if TYPE_CHECKING:
    from rkdeploy.device.postprocess.resampling import Axis
    from rkdeploy.device.runtime.protocol import HeadTensor


class _Axis(ctypes.Structure):
    """`struct axis`."""

    _fields_ = (("low", ctypes.c_void_p), ("fraction", ctypes.c_void_p), ("count", ctypes.c_int64))


def native_best_classes(library: ctypes.CDLL, tensor: HeadTensor, rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """Class with the highest interpolated score at each source pixel; of equal ones the lowest.

    Args:
        library: the C library.
        tensor: one score plane for each of 2 to 256 classes.
        rows: positions of the source rows in the planes.
        columns: positions of the source columns.

    Returns:
        (H, W) uint8.
    """
    _, channels, height, width = tensor.shape
    layout = layout_of(tensor)
    layout.values = address(tensor.values)
    row_low, row_fraction = np.ascontiguousarray(rows.low, np.int64), np.ascontiguousarray(rows.fraction)
    column_low, column_fraction = np.ascontiguousarray(columns.low, np.int64), np.ascontiguousarray(columns.fraction)
    found = np.empty((len(row_low), len(column_low)), np.uint8)
    best, classes = np.empty((height, width), np.uint8), np.empty(channels, np.uint8)
    scores = np.empty(max(4 * channels, width), np.float32)
    failed = library.rkdeploy_best_classes(
        ctypes.byref(layout),
        ctypes.byref(_Axis(address(row_low), address(row_fraction), len(row_low))),
        ctypes.byref(_Axis(address(column_low), address(column_fraction), len(column_low))),
        address(best),
        address(scores),
        address(classes),
        address(found),
    )
    assert not failed, "the positions lie in the planes"
    return found


def native_resampled(
    library: ctypes.CDLL, plane: NDArray[np.float32], rows: Axis, columns: Axis
) -> NDArray[np.float32]:
    """The plane interpolated at the source pixels, (rows, columns) float32.

    Args:
        library: the C library.
        plane: (h, w) float32.
        rows: positions of the source rows in the plane.
        columns: positions of the source columns.
    """
    plane = np.ascontiguousarray(plane, np.float32)
    row_low, row_fraction = np.ascontiguousarray(rows.low, np.int64), np.ascontiguousarray(rows.fraction)
    column_low, column_fraction = np.ascontiguousarray(columns.low, np.int64), np.ascontiguousarray(columns.fraction)
    values = np.empty((len(row_low), len(column_low)), np.float32)
    room = np.empty(2 * len(column_low), np.float32)
    failed = library.rkdeploy_resample(
        address(plane),
        plane.shape[0],
        plane.shape[1],
        ctypes.byref(_Axis(address(row_low), address(row_fraction), len(row_low))),
        ctypes.byref(_Axis(address(column_low), address(column_fraction), len(column_low))),
        address(room),
        address(values),
    )
    assert not failed, "the positions lie in the plane"
    return values
