from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.postprocess import resampling as module
from rkdeploy.device.postprocess.resampling import SignReader, bands, plane_of, resampled, source_axes
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.tensor_layouts import as_nhwc, as_packed


def at_source_pixels(
    plane: NDArray[Any], stride: int, source_hw: tuple[int, int], scale: float, left: int, top: int
) -> NDArray[np.float64]:
    """Bilinear interpolation, pixel by pixel in double."""
    height, width = plane.shape
    found = np.empty(source_hw)
    for v in range(source_hw[0]):
        for u in range(source_hw[1]):
            y = min(max(((v + 0.5) * scale + top) / stride - 0.5, 0.0), height - 1.0)
            x = min(max(((u + 0.5) * scale + left) / stride - 0.5, 0.0), width - 1.0)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            above = plane[y0, x0] * (1 - (x - x0)) + plane[y0, x1] * (x - x0)
            below = plane[y1, x0] * (1 - (x - x0)) + plane[y1, x1] * (x - x0)
            found[v, u] = above * (1 - (y - y0)) + below * (y - y0)
    return found


@pytest.mark.parametrize("band_pixels", [1, 100, 1 << 16])
@pytest.mark.parametrize(
    ("plane_hw", "stride", "source_hw", "scale", "left", "top"),
    [
        ((8, 16), 4, (40, 110), 0.5, 4, 6),  # 64x32, 55x20 of it the image
        ((4, 8), 8, (16, 64), 1.0, 0, 8),
        ((16, 32), 2, (9, 21), 3.0, 0, 2),
        ((1, 2), 32, (30, 60), 1.0, 2, 1),
        ((2, 1), 32, (60, 30), 1.0, 1, 2),
    ],
)
def test_equals_bilinear_interpolation(
    monkeypatch: pytest.MonkeyPatch,
    band_pixels: int,
    plane_hw: tuple[int, int],
    stride: int,
    source_hw: tuple[int, int],
    scale: float,
    left: int,
    top: int,
) -> None:
    """Whole planes and parts of them, enlarged and shrunk, equal the formula pixel by pixel."""
    monkeypatch.setattr(module, "_BAND_PIXELS", band_pixels)
    plane = np.random.default_rng(0).normal(0, 3, plane_hw).astype(np.float32)
    expected = at_source_pixels(plane, stride, source_hw, scale, left, top)
    transform = LetterboxTransform(scale, scale, left, top, source_hw)
    rows, columns = source_axes(transform, plane_hw, stride)
    positive = SignReader()
    np.testing.assert_allclose(resampled(plane, rows, columns), expected, atol=1e-5)
    for part in ((slice(0, source_hw[0]), slice(0, source_hw[1])), (slice(3, 8), slice(5, 6))):
        part_rows, part_columns = rows[part[0]], columns[part[1]]
        needed = plane[part_rows.span, part_columns.span]
        inner = (part_rows.within(part_rows.span), part_columns.within(part_columns.span))
        np.testing.assert_allclose(resampled(needed, *inner), expected[part], atol=1e-5)
        clear = np.abs(expected[part]) > 1e-5
        np.testing.assert_array_equal(positive(needed, *inner)[clear], (expected[part] > 0)[clear])


def test_equals_opencv() -> None:
    """If the image fills the input, the result is OpenCV's bilinear resize."""
    plane = np.random.default_rng(1).normal(0, 3, (12, 20)).astype(np.float32)
    transform = LetterboxTransform(80 / 211, 48 / 97, 0.0, 0.0, (97, 211))
    rows, columns = source_axes(transform, (12, 20), 4)
    expected = cv2.resize(plane, (211, 97), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resampled(plane, rows, columns), expected, atol=1e-4)


def test_bands_cover_the_rows() -> None:
    """Every row is in one band, also where one row is wider than a band should be."""
    rows, _ = source_axes(LetterboxTransform(1.0, 1.0, 0.0, 0.0, (50, 8)), (50, 8), 1)
    for width in (1, 8, 5000, 1 << 17):
        covered = [row for band in bands(rows, width) for row in range(band.start, band.stop)]
        assert covered == list(range(50))


def test_plane_of_every_layout() -> None:
    """A channel is the same plane in every layout."""
    tensor = HeadTensor(np.random.default_rng(2).integers(-128, 128, (1, 21, 3, 5)).astype(np.int8))
    for same in (tensor, as_nhwc(tensor), as_packed(tensor, 16), as_packed(tensor, 4)):
        for channel in range(21):
            np.testing.assert_array_equal(plane_of(same, channel), tensor.values[0, channel])
