from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import RkdeployError
from rkdeploy.images.antialiased_resize import AntialiasedCrop
from rkdeploy.images.fit import CenterCrop, Letterbox, Stretch, image_fit


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
    """Every pixel equals upstream's letterbox followed by the color change, also for odd and tiny sizes."""
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
    """The padding has the contract's gray level."""
    result = Letterbox(InputSpec("images", 32, 64, pad_value=7))(picture(32, 32)).image
    assert (result[0, :, :16] == 7).all()
    assert (result[0, :, 48:] == 7).all()


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("source_hw", [(48, 64), (50, 30), (1, 1)])
def test_grey_and_bgra(color: Any, source_hw: tuple[int, int]) -> None:
    """Gray and BGRA sources give the result of the same picture in BGR."""
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
    """An array that cannot be letterboxed is refused with its shape or dtype."""
    with pytest.raises(RkdeployError, match=message):
        Letterbox(InputSpec("images", 64, 64))(image)


def test_other_fit() -> None:
    """Each fit refuses a contract that asks for another."""
    fits: Any = {"letterbox": Letterbox, "center_crop": CenterCrop, "stretch": Stretch}
    for fit, made in fits.items():
        assert isinstance(image_fit(InputSpec("images", 64, 64, fit=fit)), made)
        other: Any = "stretch" if fit != "stretch" else "letterbox"
        with pytest.raises(RkdeployError, match=f'has fit "{other}", expected "{fit}"'):
            made(InputSpec("images", 64, 64, fit=other))


@pytest.mark.parametrize("source_hw", [(30, 60), (60, 30), (64, 64)])
def test_top_left(source_hw: tuple[int, int]) -> None:
    """YOLOX's `preproc` (yolox/data/data_augment.py): the image in the corner, gray below and to the right."""
    fitted = Letterbox(InputSpec("images", 64, 64, color="bgr", place="top_left"))(picture(*source_hw))
    ratio = 64 / max(source_hw)
    height, width = round(source_hw[0] * ratio), round(source_hw[1] * ratio)
    expected = np.full((64, 64, 3), 114, np.uint8)
    expected[:height, :width] = cv2.resize(picture(*source_hw), (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(fitted.image[0], expected)
    assert (fitted.transform.pad_x, fitted.transform.pad_y, fitted.transform.scale_x) == (0, 0, ratio)
    assert (fitted.transform.placed.pad_x, fitted.transform.placed.pad_y) == (0, 0)
    corner = np.array([[0, 0, width, height]], np.float32)
    np.testing.assert_allclose(fitted.transform.boxes_to_source(corner), [[0, 0, *source_hw[::-1]]])


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


@pytest.mark.parametrize("input_hw", [(64, 64), (96, 160), (61, 67)])
@pytest.mark.parametrize("source_hw", [(1080, 1920), (333, 77), (480, 641), (2, 2000), (1, 1), (61, 67)])
def test_placed_is_where_the_pixels_are(input_hw: tuple[int, int], source_hw: tuple[int, int]) -> None:
    """A white image covers exactly the whole pixels that the placed transform names."""
    result = Letterbox(InputSpec("images", *input_hw, pad_value=0))(np.full((*source_hw, 3), 255, np.uint8))
    rows, columns = np.nonzero(result.image[0, :, :, 0])
    placed = result.transform.placed
    corners = placed.boxes_to_input(np.array([[0, 0, source_hw[1], source_hw[0]]], np.float32))
    np.testing.assert_allclose(corners, [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], atol=1e-3)
    assert placed.placed == placed


def test_rotated_boxes_to_source() -> None:
    """Centers move, sides shrink or grow, angles stay; nothing is clipped and the argument not written to."""
    transform = Letterbox(InputSpec("images", 640, 640))(picture(100, 200)).transform
    boxes = np.array([[32, 224, 64, 32, 0.3], [-64, 224, 640, 32, 1.3]], np.float32)
    found = transform.rotated_to_source(boxes)
    np.testing.assert_allclose(found, [[10, 20, 20, 10, 0.3], [-20, 20, 200, 10, 1.3]], atol=1e-4)
    assert boxes[0, 0] == 32
    assert transform.rotated_to_source(boxes[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("source_hw", "fraction", "resized_hw", "top_left"),
    [
        # torchvision: the shorter side to 32 / fraction, the longer to int(...), crop at round((side - 32) / 2)
        ((64, 96), 1.0, (32, 48), (0, 8)),
        ((100, 70), 1.0, (45, 32), (6, 0)),
        ((64, 96), 0.8, (40, 60), (4, 14)),
        ((20, 31), 0.875, (36, 55), (2, 12)),
        ((32, 32), 1.0, (32, 32), (0, 0)),
    ],
)
def test_center_crop_by_hand(
    source_hw: tuple[int, int], fraction: float, resized_hw: tuple[int, int], top_left: tuple[int, int]
) -> None:
    """The middle of the image resized as torchvision resizes it, and the map back to the source."""
    image = picture(*source_hw)
    result = CenterCrop(InputSpec("images", 32, 32, fit="center_crop", crop_fraction=fraction))(image)
    expected = AntialiasedCrop(source_hw, resized_hw, (*top_left, 32, 32))(image)
    np.testing.assert_array_equal(result.image[0], expected[..., ::-1])
    assert (result.image.shape, result.image.dtype.name, result.image.flags.c_contiguous) == (
        (1, 32, 32, 3),
        "uint8",
        True,
    )
    transform = result.transform
    assert transform.placed == transform
    whole = transform.boxes_to_input(np.array([[0, 0, source_hw[1], source_hw[0]]], np.float32))
    (top, left), (height, width) = top_left, resized_hw
    np.testing.assert_allclose(whole, [[-left, -top, width - left, height - top]], atol=1e-3)


def test_center_crop_of_another_shape() -> None:
    """An input that is not square is filled too: twice as wide as high, cut out of a square picture."""
    result = CenterCrop(InputSpec("images", 32, 64, fit="center_crop"))(picture(80, 80))
    assert result.image.shape == (1, 32, 64, 3)
    np.testing.assert_allclose(
        result.transform.boxes_to_source(np.array([[0, 0, 64, 32]], np.float32)), [[0, 20, 80, 60]], atol=1e-3
    )


def test_stretch_by_hand() -> None:
    """The whole picture, each axis with a scale of its own."""
    image = picture(40, 90)
    result = Stretch(InputSpec("images", 64, 32, fit="stretch", color="bgr"))(image)
    np.testing.assert_array_equal(result.image[0], AntialiasedCrop((40, 90), (64, 32), (0, 0, 64, 32))(image))
    boxes = np.array([[0, 0, 90, 40], [45, 10, 90, 20]], np.float32)
    there = result.transform.boxes_to_input(boxes)
    np.testing.assert_allclose(there, [[0, 0, 32, 64], [16, 16, 32, 32]], atol=1e-4)
    np.testing.assert_allclose(result.transform.boxes_to_source(there), boxes, atol=1e-3)


def test_plain_stretch() -> None:
    """Without antialiasing every pixel is OpenCV's bilinear one."""
    image = picture(97, 131)
    found = Stretch(InputSpec("images", 32, 48, fit="stretch", antialias=False))(image)
    expected = cv2.cvtColor(cv2.resize(image, (48, 32), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(found.image[0], expected)
    assert (found.transform.scale_x, found.transform.scale_y, found.transform.source_hw) == (
        48 / 131,
        32 / 97,
        (97, 131),
    )


@pytest.mark.parametrize("fit", ["center_crop", "stretch"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_crop_and_stretch_of_grey_and_bgra(fit: Any, color: Any) -> None:
    """Gray and BGRA sources of changing sizes give the result of the same picture in BGR, in one buffer."""
    fitted = image_fit(InputSpec("images", 24, 24, fit=fit, color=color))
    buffer = fitted(picture(50, 60)).image
    for source_hw in ((50, 60), (31, 30), (1, 1), (7, 90)):
        grey = picture(*source_hw, ())
        expected = fitted(np.repeat(grey[:, :, None], 3, axis=2)).image.copy()
        for same in (grey, grey[:, :, None]):
            result = fitted(same)
            assert result.image is buffer
            np.testing.assert_array_equal(result.image, expected)
        bgra = picture(*source_hw, (4,))
        expected = fitted(bgra[:, :, :3]).image.copy()
        np.testing.assert_array_equal(fitted(bgra).image, expected)
    with pytest.raises(RkdeployError, match="float32, expected uint8"):
        fitted(np.zeros((10, 10, 3), np.float32))


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, float("nan")])
def test_crop_fraction_out_of_range(fraction: float) -> None:
    """A crop cannot be larger than the image, nor nothing."""
    with pytest.raises(RkdeployError, match=r"crop fraction of .*, expected more than 0, up to 1"):
        CenterCrop(InputSpec("images", 32, 32, fit="center_crop", crop_fraction=fraction))
