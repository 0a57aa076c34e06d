from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.images.antialiased_resize import AntialiasedCrop


def picture(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 10_007 + width).integers(0, 256, (height, width, channels), np.uint8)


def triangle_weights(source: int, target: int) -> NDArray[np.float64]:
    """Pillow's bilinear coefficients (libImaging/Resample.c, precompute_coeffs), (target, source)."""
    scale = source / target
    support = max(scale, 1.0)
    weights = np.zeros((target, source))
    for place in range(target):
        center = (place + 0.5) * scale
        low, high = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), source)
        for x in range(low, high):
            weights[place, x] = max(1.0 - abs((x + 0.5 - center) / support), 0.0)
        weights[place] /= weights[place].sum()
    return weights


def pillow_resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Both passes in double, without Pillow's rounding in between."""
    rows, columns = triangle_weights(image.shape[0], height), triangle_weights(image.shape[1], width)
    return np.asarray(np.einsum("hy,wx,yxc->hwc", rows, columns, image), np.float64)


@pytest.mark.parametrize(
    ("source_hw", "resized_hw"),
    [
        ((37, 53), (16, 24)),
        ((37, 53), (37, 20)),
        ((20, 11), (61, 40)),
        ((50, 50), (50, 50)),
        ((1, 1), (9, 5)),
        ((90, 7), (31, 33)),
    ],
)
def test_equals_pillow(source_hw: tuple[int, int], resized_hw: tuple[int, int]) -> None:
    """Every pixel, shrunk and enlarged, is Pillow's to the rounding, and so is a part cut out of it."""
    image = picture(*source_hw)
    expected = pillow_resize(image, *resized_hw)
    height, width = resized_hw
    found = AntialiasedCrop(source_hw, resized_hw, (0, 0, height, width))(image)
    assert (found.shape, found.dtype.name, found.flags.c_contiguous) == ((height, width, 3), "uint8", True)
    assert np.abs(found - expected).max() <= 0.51
    part = AntialiasedCrop(source_hw, resized_hw, (height // 3, width // 4, height // 2, width // 2))(image)
    np.testing.assert_array_equal(part, found[height // 3 :, width // 4 :][: height // 2, : width // 2])


@pytest.mark.parametrize("source_hw", [(240, 320), (241, 323), (480, 160), (1000, 64)])
def test_large_images_are_halved_first(source_hw: tuple[int, int]) -> None:
    """An image many times too large, also with odd sides, differs from Pillow's by a few gray levels, and is not
    shifted.
    """
    rows, columns = (np.indices(source_hw)[axis] / source_hw[axis] for axis in (0, 1))
    smooth = (127 + 60 * np.sin(9 * rows + 2) + 60 * np.cos(7 * columns)).round().astype(np.uint8)[:, :, None]
    found = AntialiasedCrop(source_hw, (24, 16), (0, 0, 24, 16))(smooth)
    assert np.abs(found - pillow_resize(smooth, 24, 16)).max() <= 2.0
    noise = picture(*source_hw)
    found = AntialiasedCrop(source_hw, (24, 16), (0, 0, 24, 16))(noise)
    difference = np.abs(found - pillow_resize(noise, 24, 16))
    assert difference.mean() < 3
    assert difference.max() < 16


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_and_strides(channels: int) -> None:
    """Any number of channels and any strides give what a contiguous copy gives."""
    image = picture(150, 130, channels)
    for view in (image[::-1], image[:, ::-1], image[3:90, 5:60], image[..., ::-1]):
        crop = AntialiasedCrop((view.shape[0], view.shape[1]), (30, 20), (2, 3, 20, 10))
        np.testing.assert_array_equal(crop(view), crop(view.copy()))


def test_even_picture() -> None:
    """A picture of one gray level keeps it, up to the edges."""
    for source_hw in ((33, 47), (301, 205)):
        image = np.full((*source_hw, 3), 255, np.uint8)
        assert (AntialiasedCrop(source_hw, (20, 31), (0, 0, 20, 31))(image) == 255).all()
