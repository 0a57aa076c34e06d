from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.errors import RkdeployError
from rkdeploy.preprocess import Letterbox
from rkdeploy.spec import InputSpec


def picture(height: int, width: int, channels: tuple[int, ...] = (3,)) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 10_007 + width).integers(0, 256, (height, width, *channels), np.uint8)


def upstream_letterbox(image: NDArray[Any], new_shape: tuple[int, int]) -> NDArray[Any]:
    """YOLOv5 v7.0, utils/augmentations.py, with auto=False, scaleFill=False, scaleup=True."""
    shape = image.shape[:2]
    r = min(new_shape[0] / shape[0], new_shape[1] / shape[1])
    new_unpad = round(shape[1] * r), round(shape[0] * r)
    dw, dh = new_shape[1] - new_unpad[0], new_shape[0] - new_unpad[1]
    dw /= 2  # type: ignore[assignment]
    dh /= 2  # type: ignore[assignment]
    if shape[::-1] != new_unpad:
        image = cv2.resize(image, new_unpad, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))


def upstream_scale_boxes(
    input_hw: tuple[int, int], boxes: NDArray[Any], source_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """YOLOv5 v7.0, utils/general.py."""
    gain = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
    pad = (input_hw[1] - source_hw[1] * gain) / 2, (input_hw[0] - source_hw[0] * gain) / 2
    boxes = boxes.astype(np.float64)
    boxes[:, [0, 2]] -= pad[0]
    boxes[:, [1, 3]] -= pad[1]
    boxes /= gain
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, source_hw[1])
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, source_hw[0])
    return boxes


@pytest.mark.parametrize("input_hw", [(64, 64), (96, 160), (160, 96), (61, 67)])
@pytest.mark.parametrize(
    "source_hw",
    [(64, 64), (96, 160), (1, 1), (37, 53), (128, 128), (480, 641), (333, 77), (3, 200), (200, 3), (50, 50)],
)
def test_pixels_equal_upstream(input_hw: tuple[int, int], source_hw: tuple[int, int]) -> None:
    """Every pixel equals upstream's letterbox followed by the colour change, also for odd and tiny sizes."""
    image = picture(*source_hw)
    if min(round(side * min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])) for side in source_hw) == 0:
        pytest.skip("upstream fails")
    expected = upstream_letterbox(image, input_hw)
    rgb = Letterbox(InputSpec("images", *input_hw))(image).image
    bgr = Letterbox(InputSpec("images", *input_hw, color="bgr"))(image).image
    assert rgb.shape == (1, *input_hw, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb[0], expected[..., ::-1])
    np.testing.assert_array_equal(bgr[0], expected)


@pytest.mark.parametrize("source_hw", [(1, 2000), (2000, 1)])
def test_very_thin_image_keeps_one_pixel(source_hw: tuple[int, int]) -> None:
    """An image that would shrink to no pixels at all keeps one row or column, in the middle."""
    image = np.full((*source_hw, 3), 250, np.uint8)
    result = Letterbox(InputSpec("images", 64, 64))(image)
    bright = np.argwhere(result.image[0, :, :, 0] == 250)
    assert len(bright) == 64
    thin_axis = 0 if source_hw[0] == 1 else 1
    assert set(bright[:, thin_axis].tolist()) == {31}
    full = result.transform.boxes_to_input(np.array([[0, 0, source_hw[1], source_hw[0]]], np.float32))
    np.testing.assert_allclose(result.transform.boxes_to_source(full), [[0, 0, source_hw[1], source_hw[0]]], atol=1e-2)


def test_buffer_is_reused_and_padding_follows_the_geometry() -> None:
    """One buffer serves all calls, and no call sees what an earlier one of another shape has left."""
    letterbox = Letterbox(InputSpec("images", 96, 96))
    first = letterbox(picture(40, 90)).image
    for source_hw in [(90, 40), (90, 40), (96, 96), (40, 90), (41, 90), (7, 5)]:
        image = picture(*source_hw)
        result = letterbox(image).image
        assert result is first
        np.testing.assert_array_equal(result[0], upstream_letterbox(image, (96, 96))[..., ::-1])


def test_pad_value() -> None:
    """The padding has the contract's grey level."""
    result = Letterbox(InputSpec("images", 32, 64, pad_value=7))(picture(32, 32)).image
    assert (result[0, :, :16] == 7).all()
    assert (result[0, :, 48:] == 7).all()


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("source_hw", [(48, 64), (50, 30), (1, 1)])
def test_grey_and_bgra(color: Any, source_hw: tuple[int, int]) -> None:
    """Grey and BGRA sources give what the same picture in BGR gives."""
    letterbox = Letterbox(InputSpec("images", 64, 64, color=color))
    grey = picture(*source_hw, ())
    expected = letterbox(np.repeat(grey[:, :, None], 3, axis=2)).image.copy()
    np.testing.assert_array_equal(letterbox(grey).image, expected)
    np.testing.assert_array_equal(letterbox(grey[:, :, None]).image, expected)
    bgra = picture(*source_hw, (4,))
    expected = letterbox(bgra[:, :, :3].copy()).image.copy()
    np.testing.assert_array_equal(letterbox(bgra).image, expected)


def test_any_strides() -> None:
    """A mirrored, a cropped and a channel-swapped view give what their copies give."""
    letterbox = Letterbox(InputSpec("images", 64, 64))
    image = picture(101, 77)
    views = (image[:, ::-1], image[::-1], image[..., ::-1], image[3:70, 5:60], image[::2, ::3], image[..., :1])
    for view in views:
        expected = letterbox(view.copy()).image.copy()
        np.testing.assert_array_equal(letterbox(view).image, expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 10, 3), np.uint8), "no pixels"),
        (np.zeros((10, 0), np.uint8), "no pixels"),
        (np.zeros((10, 10, 2), np.uint8), r"\(10, 10, 2\), expected"),
        (np.zeros((10, 10, 0), np.uint8), r"\(10, 10, 0\), expected"),
        (np.zeros(10, np.uint8), r"\(10,\), expected"),
        (np.zeros((1, 10, 10, 3), np.uint8), r"\(1, 10, 10, 3\), expected"),
        (np.zeros((10, 10, 3), np.float32), "float32, expected uint8"),
    ],
)
def test_unusable_source(image: NDArray[Any], message: str) -> None:
    """What cannot be letterboxed is refused with its shape or dtype."""
    with pytest.raises(RkdeployError, match=message):
        Letterbox(InputSpec("images", 64, 64))(image)


def test_unknown_fit() -> None:
    """A contract that asks for another fit is refused."""
    fit: Any = "stretch"
    with pytest.raises(RkdeployError, match="stretch"):
        Letterbox(InputSpec("images", 64, 64, fit=fit))


def test_transform_by_hand() -> None:
    """A 200x100 image in 640x640: scale 3.2, 160 pixels above; a box goes there and back."""
    transform = Letterbox(InputSpec("images", 640, 640))(picture(100, 200)).transform
    assert (transform.scale_x, transform.scale_y, transform.pad_x, transform.pad_y) == (3.2, 3.2, 0.0, 160.0)
    assert transform.source_hw == (100, 200)
    source = np.array([[10.0, 20.0, 110.0, 70.0]], np.float32)
    there = transform.boxes_to_input(source)
    np.testing.assert_allclose(there, [[32.0, 224.0, 352.0, 384.0]])
    np.testing.assert_allclose(transform.boxes_to_source(there), source, atol=1e-4)
    np.testing.assert_allclose(transform.points_to_source(np.array([[[32.0, 224.0]]])), [[[10.0, 20.0]]], atol=1e-4)


@pytest.mark.parametrize("input_hw", [(640, 640), (384, 640), (61, 67)])
@pytest.mark.parametrize("source_hw", [(1080, 1920), (333, 77), (480, 641), (2, 2000), (1, 1)])
def test_boxes_equal_upstream(input_hw: tuple[int, int], source_hw: tuple[int, int]) -> None:
    """Boxes in source pixels are within 1e-3 px of upstream's scale_boxes, clipping included."""
    transform = Letterbox(InputSpec("images", *input_hw))(picture(*source_hw)).transform
    boxes = np.random.default_rng(0).uniform(-50, 700, (200, 4)).astype(np.float32)
    found = transform.boxes_to_source(boxes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, upstream_scale_boxes(input_hw, boxes, source_hw), atol=1e-3)


def test_round_trip() -> None:
    """Boxes inside a source image come back from the input frame unchanged."""
    transform = Letterbox(InputSpec("images", 384, 640))(picture(719, 1281)).transform
    corners = np.sort(np.random.default_rng(1).uniform(0, 719, (100, 2, 2)), axis=1).reshape(-1, 4)
    there = transform.boxes_to_input(corners)
    np.testing.assert_allclose(transform.boxes_to_source(there), corners, atol=1e-3)


def test_no_boxes() -> None:
    """No boxes in, no boxes out, and the argument is never written to."""
    transform = Letterbox(InputSpec("images", 64, 64))(picture(10, 20)).transform
    assert transform.boxes_to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert transform.boxes_to_input(np.zeros((0, 4), np.float32)).shape == (0, 4)
    boxes = np.ones((1, 4), np.float32)
    transform.boxes_to_source(boxes)
    transform.boxes_to_input(boxes)
    np.testing.assert_array_equal(boxes, 1.0)
