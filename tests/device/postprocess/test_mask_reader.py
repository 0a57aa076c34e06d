from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import InstanceMask
from rkdeploy.device.postprocess.mask_reader import MaskReader
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.tensor_layouts import in_every_layout


def spec(input_hw: tuple[int, int], prototypes: int) -> ModelSpec:
    shape = (1, prototypes, input_hw[0] // 4, input_hw[1] // 4)
    return ModelSpec(
        family="yolov8",
        task="segment",
        class_names=("a",),
        input=InputSpec("images", *input_hw),
        outputs=(HeadOutput("prototypes", "prototypes", 0, 4, shape),),
    )


def whole(mask: InstanceMask, source_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask on the source image."""
    image = np.zeros(source_hw, np.bool_)
    height, width = mask.pixels.shape
    image[mask.top : mask.top + height, mask.left : mask.left + width] = mask.pixels
    return image


def logits_at_source(plane: NDArray[np.float64], transform: LetterboxTransform) -> NDArray[np.float64]:
    """Bilinear interpolation of a plane at stride 4, in double."""
    placed = transform.placed
    axes = []
    for size, pixels, scale, pad in (
        (plane.shape[0], transform.source_hw[0], placed.scale_y, placed.pad_y),
        (plane.shape[1], transform.source_hw[1], placed.scale_x, placed.pad_x),
    ):
        place = np.clip(((np.arange(pixels) + 0.5) * scale + pad) / 4 - 0.5, 0, size - 1)
        weights = np.maximum(1 - np.abs(place[:, None] - np.arange(size)), 0)
        axes.append(weights)
    return np.asarray(axes[0] @ plane @ axes[1].T)


def test_by_hand() -> None:
    """Prototypes that step from -1 to 1 in the middle: the edge lies between columns 7 and 8, the crop at the box."""
    step = np.tile(np.array([-1, -1, 1, 1], np.float32), (4, 1))
    tensor = HeadTensor(np.stack((step, np.full((4, 4), 0.25, np.float32)))[None])
    transform = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (16, 16))
    boxes = np.array([[2.5, 1.0, 12.0, 3.5], [2.5, 1.0, 12.0, 3.5], [4.0, 4.0, 6.0, 6.0]], np.float32)
    weights = np.array([[1, 0], [-1, 0], [1, 6]], np.float32)
    right, left, everywhere = MaskReader(spec((16, 16), 2))([tensor], weights, boxes, transform)
    assert (right.left, right.top, right.pixels.shape, right.pixels.dtype) == (3, 1, (3, 9), np.dtype(bool))
    np.testing.assert_array_equal(right.pixels, np.tile(np.arange(3, 12) >= 8, (3, 1)))
    np.testing.assert_array_equal(left.pixels, ~right.pixels)
    assert everywhere.pixels.all()
    assert (everywhere.left, everywhere.top, everywhere.pixels.shape) == (4, 4, (2, 2))


CASES: list[tuple[tuple[int, int], LetterboxTransform]] = [
    ((64, 64), LetterboxTransform(0.5, 0.5, 0.0, 14.0, (72, 128))),
    ((64, 96), LetterboxTransform(0.6, 0.6, 9.0, 2.0, (100, 130))),
    ((32, 64), LetterboxTransform(2.0, 2.0, 16.0, 0.0, (16, 16))),
]


@pytest.mark.parametrize(("input_hw", "transform"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_equals_the_whole_plane(input_hw: tuple[int, int], transform: LetterboxTransform, dtype: str) -> None:
    """Reading only what lies under a box gives what the whole plane gives, in every layout, quantized or not."""
    rng = np.random.default_rng(3)
    count = 20
    values = np.round(rng.normal(0, 30, (1, count, input_hw[0] // 4, input_hw[1] // 4)))
    tensor = HeadTensor(np.clip(values, -128, 127).astype(dtype), 0.05, 7)
    weights = rng.normal(0, 1, (9, count)).astype(np.float32)
    height, width = transform.source_hw
    corners = np.sort(rng.uniform(0, 1, (9, 2, 2)), axis=1) * (width, height)
    boxes = np.concatenate((corners.reshape(9, 4), [[0, 0, width, height]]))[1:].astype(np.float32)
    reader = MaskReader(spec(input_hw, count))
    columns, rows = np.arange(width), np.arange(height)[:, None]
    for tensors in ([tensor], *in_every_layout([tensor]).values()):
        for mask, weight, (x1, y1, x2, y2) in zip(
            reader(tensors, weights, boxes, transform), weights, boxes, strict=True
        ):
            plane = np.tensordot(weight.astype(np.float64), tensor.dequantized()[0].astype(np.float64), axes=1)
            logits = logits_at_source(plane, transform)
            inside = (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
            expected = (logits > 0) & inside
            clear = np.abs(logits) > 1e-4
            np.testing.assert_array_equal(whole(mask, transform.source_hw)[clear], expected[clear])
            assert mask.pixels.size == inside.sum()


def test_source_sizes_in_turn() -> None:
    """The geometry follows the image, not the one before it."""
    tensor = HeadTensor(np.random.default_rng(4).normal(0, 1, (1, 3, 16, 16)).astype(np.float32))
    weights = np.ones((1, 3), np.float32)
    first = LetterboxTransform(0.5, 0.5, 0.0, 14.0, (72, 128))
    second = LetterboxTransform(0.5, 0.5, 14.0, 0.0, (128, 72))
    reader = MaskReader(spec((64, 64), 3))
    for transform in (first, second, first):
        height, width = transform.source_hw
        box = np.array([[0, 0, width, height]], np.float32)
        (mask,) = reader([tensor], weights, box, transform)
        (fresh,) = MaskReader(spec((64, 64), 3))([tensor], weights, box, transform)
        assert mask.pixels.shape == transform.source_hw
        np.testing.assert_array_equal(mask.pixels, fresh.pixels)


def test_nothing_to_mask() -> None:
    """No objects have no masks; a box between two pixel columns has a mask without pixels."""
    tensor = HeadTensor(np.ones((1, 2, 4, 4), np.float32))
    transform = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (16, 16))
    reader = MaskReader(spec((16, 16), 2))
    assert reader([tensor], np.zeros((0, 2), np.float32), np.zeros((0, 4), np.float32), transform) == ()
    thin = np.array([[3.2, 1.0, 3.8, 4.0], [16.0, 3.0, 16.0, 9.0]], np.float32)
    masks = reader([tensor], np.ones((2, 2), np.float32), thin, transform)
    assert [mask.pixels.shape for mask in masks] == [(3, 0), (6, 0)]


def test_contract_that_does_not_fit_together() -> None:
    """Prototypes of another size than the input, activated ones, none and two are refused."""
    good = spec((32, 64), 5)
    output = good.outputs[0]

    def with_output(**changes: Any) -> ModelSpec:
        return replace(good, outputs=(replace(output, **changes),))

    for broken, message in (
        (replace(good, outputs=()), "0 prototypes outputs, expected one"),
        (replace(good, outputs=(output, output)), "2 prototypes outputs, expected one"),
        (with_output(stride=8), r'"prototypes" has shape \(1, 5, 8, 16\) .* covers 128x64, expected 64x32'),
        (with_output(activation="sigmoid"), 'activation "sigmoid", expected linear'),
    ):
        with pytest.raises(RkdeployError, match=message):
            MaskReader(broken)
