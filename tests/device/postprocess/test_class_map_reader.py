from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import ClassMapSpec
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.class_map_reader import ClassMapReader
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.tensor_layouts import in_every_layout

SAME = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (4, 8))


def spec(planes: int, input_hw: tuple[int, int] = (4, 8), stride: int = 1) -> ModelSpec:
    shape = (1, planes, input_hw[0] // stride, input_hw[1] // stride)
    return ModelSpec(
        family="yolop",
        task="detect",
        class_names=("car",),
        input=InputSpec("images", *input_hw),
        outputs=(HeadOutput("lanes", "class_map", 0, stride, shape),),
        class_maps=(ClassMapSpec("lanes", tuple(f"class {number}" for number in range(planes))),),
    )


def interpolated(plane: NDArray[Any], stride: int, transform: LetterboxTransform) -> NDArray[np.float64]:
    """Bilinear interpolation at source pixels, in double."""
    placed = transform.placed
    weights = []
    for size, pixels, scale, pad in (
        (plane.shape[0], transform.source_hw[0], placed.scale_y, placed.pad_y),
        (plane.shape[1], transform.source_hw[1], placed.scale_x, placed.pad_x),
    ):
        place = np.clip(((np.arange(pixels) + 0.5) * scale + pad) / stride - 0.5, 0, size - 1)
        weights.append(np.maximum(1 - np.abs(place[:, None] - np.arange(size)), 0))
    return np.asarray(weights[0] @ plane.astype(np.float64) @ weights[1].T)


def test_by_hand() -> None:
    """The greater plane wins, of equal ones the first."""
    scores = np.zeros((1, 2, 4, 8), np.float32)
    scores[0, 1, 1, 2:5] = 1.0
    scores[0, 0, 1, 4] = 2.0
    scores[0, :, 3, 3] = 5.0
    (found,) = ClassMapReader(spec(2))([HeadTensor(scores)], SAME)
    assert (found.name, found.class_names) == ("lanes", ("class 0", "class 1"))
    assert (found.class_ids.shape, found.class_ids.dtype.name) == ((4, 8), "uint8")
    assert np.argwhere(found.class_ids).tolist() == [[1, 2], [1, 3]]
    assert found.class_ids.max() == 1


def test_scores_are_interpolated_before_they_are_compared() -> None:
    """Twice the size, padding above: the edge lies where the interpolated scores are equal, not at a cell."""
    scores = np.zeros((1, 2, 8, 8), np.float32)
    scores[0, 1, :, 4:] = 3.0  # against 1 to the left: equal a quarter of the way from column 3 to column 4
    scores[0, 0, :, :4] = 1.0
    transform = LetterboxTransform(0.5, 0.5, 0.0, 2.0, (8, 16))
    (found,) = ClassMapReader(spec(2, (8, 8)))([HeadTensor(scores)], transform)
    # Source column u lies at (u + 0.5) / 2 - 0.5: 7 at 3.25, where the scores are 0.75 and 0.75.
    assert found.class_ids.shape == (8, 16)
    assert found.class_ids[0].tolist() == [0] * 8 + [1] * 8
    scores[0, 1, :, 4:] = 3.5
    (found,) = ClassMapReader(spec(2, (8, 8)))([HeadTensor(scores)], transform)
    assert found.class_ids[0].tolist() == [0] * 7 + [1] * 9


def test_the_padding_is_left_out() -> None:
    """The network's values in the letterbox's padding appear nowhere in the map."""
    scores = np.zeros((1, 2, 8, 8), np.float32)
    scores[0, 1, :2] = scores[0, 1, 6:] = 1.0
    (found,) = ClassMapReader(spec(2, (8, 8)))([HeadTensor(scores)], LetterboxTransform(1.0, 1.0, 0.0, 2.0, (4, 8)))
    assert not found.class_ids.any()


CASES: list[tuple[int, tuple[int, int], int, LetterboxTransform]] = [
    (2, (32, 64), 1, LetterboxTransform(0.5, 0.5, 0.0, 4.0, (48, 128))),
    (2, (32, 64), 4, LetterboxTransform(2.0, 2.0, 14.0, 0.0, (16, 18))),
    (5, (64, 32), 8, LetterboxTransform(0.4, 0.4, 0.0, 10.0, (110, 80))),
    (19, (32, 32), 1, LetterboxTransform(1.0, 1.0, 0.0, 6.0, (20, 32))),
]


@pytest.mark.parametrize(("planes", "input_hw", "stride", "transform"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_equals_interpolating_every_plane(
    planes: int, input_hw: tuple[int, int], stride: int, transform: LetterboxTransform, dtype: str
) -> None:
    """Two planes or many, any layout, quantized or not: the greatest of the interpolated real scores wins."""
    rng = np.random.default_rng(5)
    contract = spec(planes, input_hw, stride)
    low = 0 if dtype == "uint8" else -128
    tensor = HeadTensor(rng.integers(low, low + 256, contract.outputs[0].shape).astype(dtype), 0.05, 9)
    scores = np.array([interpolated(plane, stride, transform) for plane in tensor.dequantized()[0]])
    ranked = np.sort(scores, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-4
    assert clear.mean() > 0.9
    for tensors in ([tensor], *in_every_layout([tensor]).values()):
        (found,) = ClassMapReader(contract)(tensors, transform)
        np.testing.assert_array_equal(found.class_ids[clear], scores.argmax(axis=0)[clear])


def test_contract_that_does_not_fit_together() -> None:
    """Maps without an output, outputs without a map, a wrong number of planes or a wrong size are refused."""
    good = spec(3)
    output, stated = good.outputs[0], good.class_maps[0]
    for broken, message in (
        (replace(good, class_maps=()), "class maps are of no output, but its class_map outputs are lanes"),
        (replace(good, outputs=()), "class maps are of lanes, but its class_map outputs are none"),
        (replace(good, class_maps=(replace(stated, class_names=("a", "b")),)), '"lanes" has 3 planes for 2 classes'),
        (spec(1), '"lanes" has 1 planes for 1 classes, expected one per class, 2 to 256'),
        (spec(257), "257 planes"),
        (replace(good, outputs=(replace(output, stride=2),)), "stride 2, which does not fit the input of 8x4"),
    ):
        with pytest.raises(RkdeployError, match=message):
            ClassMapReader(broken)
