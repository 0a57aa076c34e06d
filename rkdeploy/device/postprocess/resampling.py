"""Bilinear interpolation of the network's coarser planes at the pixels of the source image.

A pixel is the square around its center, as in `torch.nn.functional.interpolate(..., align_corners=False)`: the center
of source pixel u lies at ((u + 0.5) * scale + pad) / stride - 0.5 in the plane.  Beyond the plane's edges its last
values are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.contract.spec import Fit, InputSpec
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform

_BAND_PIXELS: Final = 1 << 15
"""Source pixels processed at once, so that they stay in the cache."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Positions of source pixels along one axis of a plane: at `low` + `fraction`, between `low` and `low` + 1.

    Attributes:
        low: (N,) intp, ascending, 0 to the plane's size - 2 (0 if the size is 1).
        fraction: (N,) float32, 0..1.
    """

    low: NDArray[np.intp]
    fraction: NDArray[np.float32]

    @property
    def span(self) -> slice:
        """The range of plane indices that is needed."""
        return slice(int(self.low[0]), int(self.low[-1]) + 2)

    def __getitem__(self, pixels: slice) -> Axis:
        """Some of the source pixels."""
        return Axis(self.low[pixels], self.fraction[pixels])

    def within(self, span: slice) -> Axis:
        """The same positions, relative to a plane cropped to `span`."""
        return Axis(self.low - span.start, self.fraction)


def source_axes(transform: LetterboxTransform, plane_hw: tuple[int, int], stride: int) -> tuple[Axis, Axis]:
    """Rows and columns of the whole source image in a plane of the network.

    Args:
        transform: of the image that the network saw; its whole-pixel placement is used.
        plane_hw: rows and columns of the plane.
        stride: input pixels per cell of the plane.
    """
    placed = transform.placed
    height, width = transform.source_hw
    return (
        _axis(height, placed.scale_y, placed.pad_y, plane_hw[0], stride),
        _axis(width, placed.scale_x, placed.pad_x, plane_hw[1], stride),
    )


def map_axes(
    transform: LetterboxTransform, plane_hw: tuple[int, int], image: InputSpec, *, corners: bool
) -> tuple[Axis, Axis]:
    """Rows and columns of the whole source image in a map, whose sides need not divide the input's.

    Args:
        transform: of the image that the network saw; its whole-pixel placement is used.
        plane_hw: rows and columns of the map.
        image: the network's input.
        corners: whether the map's corner cells lie on the corner pixels (`align_corners=True`).  The source's corner
            pixels lie there too if the image is stretched.
    """
    placed = transform.placed
    height, width = transform.source_hw
    if not corners:
        return (
            _axis(height, placed.scale_y, placed.pad_y, plane_hw[0], image.height / plane_hw[0]),
            _axis(width, placed.scale_x, placed.pad_x, plane_hw[1], image.width / plane_hw[1]),
        )
    return (
        _corner_axis(height, placed.scale_y, placed.pad_y, plane_hw[0], image.height, image.fit),
        _corner_axis(width, placed.scale_x, placed.pad_x, plane_hw[1], image.width, image.fit),
    )


def _corner_axis(pixels: int, scale: float, pad: float, size: int, side: int, fit: Fit) -> Axis:
    at = np.arange(pixels) * (side - 1) / max(pixels - 1, 1) if fit == "stretch" else _input_places(pixels, scale, pad)
    return _axis_at(at * (size - 1) / max(side - 1, 1), size)


def _input_places(pixels: int, scale: float, pad: float) -> NDArray[np.float64]:
    """Index of each source pixel's center among the input's pixels."""
    places: NDArray[np.float64] = (np.arange(pixels) + 0.5) * scale + pad - 0.5
    return places


def _axis(pixels: int, scale: float, pad: float, size: int, stride: float) -> Axis:
    return _axis_at(((np.arange(pixels) + 0.5) * scale + pad) / stride - 0.5, size)


def _axis_at(place: NDArray[np.float64], size: int) -> Axis:
    np.clip(place, 0, size - 1, out=place)
    low = np.minimum(place.astype(np.intp), max(size - 2, 0))
    return Axis(low, (place - low).astype(np.float32))


def plane_of(tensor: HeadTensor, channel: int) -> NDArray[Any]:
    """One raw channel, (H, W), a view in any layout."""
    if tensor.packed_channels is None:
        return np.asarray(tensor.values[0, channel])
    block, lane = divmod(channel, tensor.values.shape[4])
    return np.asarray(tensor.values[0, block, :, :, lane])


def bands(rows: Axis, width: int) -> Iterator[slice]:
    """The source rows in bands of about as many pixels as fit the cache."""
    step = max(1, _BAND_PIXELS // max(width, 1))
    for start in range(0, len(rows.low), step):
        yield slice(start, min(start + step, len(rows.low)))


def resampled(plane: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """The plane interpolated at the source pixels, (rows, columns) float32.

    Args:
        plane: (h, w), the plane that the axes refer to.
        rows: positions of the source rows.
        columns: positions of the source columns.
    """
    across = _along_columns(plane, columns)
    values = _step_down(across).take(rows.low, axis=0)
    values *= rows.fraction[:, None]
    values += across.take(rows.low, axis=0)
    return values


class SignReader:
    """Finder of the source pixels where a resampled plane is greater than 0.  It reuses its memory: one per thread."""

    def __init__(self) -> None:
        self._changes = np.empty(0, np.float32)
        self._bounds = np.empty(0, np.float32)

    def __call__(self, plane: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.bool_]:
        """`resampled` > 0, computed in bands.

        Arrays of this size would be allocated from the system in every call, which takes longer than the arithmetic.

        Args:
            plane: (h, w), the plane that the axes refer to.
            rows: positions of the source rows.
            columns: positions of the source columns.

        Returns:
            (rows, columns) bool.
        """
        width = len(columns.low)
        across = _along_columns(plane, columns)
        step, negative = _step_down(across), -across
        found = np.empty((len(rows.low), width), np.bool_)
        for band in bands(rows, width):
            low = rows.low[band]
            size = len(low) * width
            if size > len(self._changes):
                self._changes, self._bounds = np.empty(size, np.float32), np.empty(size, np.float32)
            change = self._changes[:size].reshape(len(low), width)
            bound = self._bounds[:size].reshape(len(low), width)
            step.take(low, axis=0, out=change, mode="clip")
            change *= rows.fraction[band, None]
            negative.take(low, axis=0, out=bound, mode="clip")
            np.greater(change, bound, out=found[band])
        return found


def _along_columns(plane: NDArray[np.float32], columns: Axis) -> NDArray[np.float32]:
    values = plane.take(columns.low, axis=1)
    change = plane.take(np.minimum(columns.low + 1, plane.shape[1] - 1), axis=1)
    change -= values
    change *= columns.fraction
    values += change
    return values


def _step_down(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Difference of each row to the next; 0 for the last."""
    step = np.zeros_like(plane)
    np.subtract(plane[1:], plane[:-1], out=step[:-1])
    return step
