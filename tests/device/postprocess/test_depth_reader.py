"""Depth maps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import DepthFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.depth_reader import DepthReader, depth_of
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.both_ways import both_ways
from tests.device.postprocess.tensor_layouts import in_every_layout

LOG = DepthFormula("metric", exponential=True, gain=0.9, offset=0.1, low=-4.0, high=5.0)


def spec(formula: DepthFormula, plane_hw: tuple[int, int] = (2, 4), stride: int = 4) -> ModelSpec:
    height, width = (side * stride for side in plane_hw)
    return ModelSpec(
        family="ultralytics",
        task="depth",
        class_names=("depth",),
        input=InputSpec("images", height, width, fit="stretch", antialias=False),
        outputs=(HeadOutput("depth", "depth_map", 0, stride, (1, 1, *plane_hw)),),
        depth=formula,
    )


def stretched(contract: ModelSpec, source_hw: tuple[int, int]) -> LetterboxTransform:
    return LetterboxTransform(
        contract.input.width / source_hw[1], contract.input.height / source_hw[0], 0, 0, source_hw
    )


def test_formula_by_hand() -> None:
    """exp(0.9 raw + 0.1), raw limited to -4..5; linear without exponential."""
    raw = np.array([-9.0, -4.0, 0.0, 1.0, 5.0, 7.0], np.float32)
    expected = np.exp([-3.5, -3.5, 0.1, 1.0, 4.6, 4.6])
    np.testing.assert_allclose(depth_of(raw, LOG), expected, rtol=1e-6)
    assert depth_of(raw, DepthFormula("inverse", gain=2.0, offset=1.0)).tolist() == [-17, -7, 1, 3, 11, 15]
    assert np.isfinite(depth_of(np.array([1e30], np.float32), DepthFormula("metric", exponential=True))).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32"])
def test_depths_are_interpolated_behind_the_formula(dtype: str) -> None:
    """The mean of exp(0.1) and exp(1.0) lies in the middle between them, not exp of the mean; in any layout."""
    values = np.zeros((1, 1, 2, 4), dtype)
    values[..., 2:] = 10
    contract = spec(replace(LOG, corners=True))
    for tensors in ([HeadTensor(values, 0.1, 0)], *in_every_layout([HeadTensor(values, 0.1, 0)]).values()):
        found = DepthReader(contract)(tensors, stretched(contract, (5, 7)))
        assert (found.values.shape, found.values.dtype.name, found.kind) == ((5, 7), "float32", "metric")
        near, far = np.exp(0.1), np.exp(1.0)
        # Corners on corners: 7 pixels on 4 places, one every half place.
        np.testing.assert_allclose(found.values[2], [near, near, near, (near + far) / 2, far, far, far], rtol=1e-5)


def test_edge_to_edge() -> None:
    """Without `corners` the plane covers the image: twice the size, a quarter of a place off the edge."""
    contract = spec(DepthFormula("relative"), (1, 2), stride=8)
    tensors = [HeadTensor(np.array([[[[0.0, 4.0]]]], np.float32))]
    found = DepthReader(contract)(tensors, stretched(contract, (2, 4)))
    assert found.values.tolist() == [[0, 1, 3, 4]] * 2


@pytest.mark.parametrize("corners", [False, True])
def test_a_letterbox_is_left_out(corners: bool) -> None:
    """Values of the padding appear nowhere."""
    contract = spec(DepthFormula("relative", corners=corners), (4, 4), stride=8)
    contract = replace(contract, input=replace(contract.input, fit="letterbox"))
    plane = np.full((1, 1, 4, 4), 50.0, np.float32)
    plane[0, 0, 1:3] = 2.0
    found = DepthReader(contract)([HeadTensor(plane)], LetterboxTransform(1.0, 1.0, 0.0, 12.0, (8, 32)))
    assert found.values.shape == (8, 32)
    assert (found.values == 2.0).all()


def naive_corners(plane: NDArray[np.float64], source_hw: tuple[int, int]) -> NDArray[np.float64]:
    """torch.nn.functional.interpolate(..., mode="bilinear", align_corners=True), in double."""
    weights = []
    for size, pixels in zip(plane.shape, source_hw, strict=True):
        place = np.arange(pixels) * (size - 1) / (pixels - 1)
        weights.append(np.maximum(1 - np.abs(place[:, None] - np.arange(size)), 0))
    return np.asarray(weights[0] @ plane @ weights[1].T)


def test_equals_the_formula_in_double() -> None:
    """A whole plane of int8, enlarged, and another scale in the next frame."""
    contract = spec(replace(LOG, corners=True), (12, 20))
    reader = DepthReader(contract)
    for scale in (0.03, 0.05):
        values = np.random.default_rng(1).integers(-128, 128, (1, 1, 12, 20)).astype(np.int8)
        found = reader([HeadTensor(values, scale, 5)], stretched(contract, (75, 91)))
        real = np.exp(0.9 * np.clip((values[0, 0].astype(np.float64) - 5) * scale, -4, 5) + 0.1)
        np.testing.assert_allclose(found.values, naive_corners(real, (75, 91)), rtol=2e-5, atol=1e-4)


def test_a_result_of_the_postprocessor() -> None:
    """No objects, a depth."""
    contract = spec(LOG)
    found = Postprocessor(contract, Thresholds())([HeadTensor(np.zeros((1, 1, 2, 4), np.int8), 0.1)],
                                                  stretched(contract, (3, 3)))  # fmt: skip
    assert not len(found)
    assert found.depth is not None
    np.testing.assert_allclose(found.depth.values, np.exp(0.1), rtol=1e-6)


def test_contracts_that_do_not_fit_together() -> None:
    """No formula, no output, two planes, another size."""
    good = spec(LOG)
    output = good.outputs[0]
    for broken, message in (
        (replace(good, depth=None), "1 depth_map outputs and no formula"),
        (replace(good, outputs=()), "0 depth_map outputs and a formula"),
        (replace(good, outputs=(replace(output, shape=(1, 2, 2, 4)),)), "has 2 planes, expected 1"),
        (replace(good, outputs=(replace(output, stride=2),)), "does not fit the input"),
    ):
        with pytest.raises(RkdeployError, match=message):
            DepthReader(broken)


@pytest.mark.parametrize("plane_hw", [(1, 1), (1, 9), (9, 1), (2, 3), (12, 20)])
@pytest.mark.parametrize("source_hw", [(1, 1), (7, 5), (75, 91)])
def test_c_gives_what_numpy_gives(plane_hw: tuple[int, int], source_hw: tuple[int, int]) -> None:
    """To the bit, for planes of one row or column too, and in every layout."""
    contract = spec(replace(LOG, corners=True), plane_hw)
    tensor = HeadTensor(np.random.default_rng(2).integers(-128, 128, (1, 1, *plane_hw)).astype(np.int8), 0.04, 3)
    for tensors in ([tensor], *in_every_layout([tensor]).values()):
        read = partial(DepthReader(contract), tensors, stretched(contract, source_hw))
        by_numpy, by_c = both_ways(read)
        np.testing.assert_array_equal(by_numpy.values, by_c.values)
        assert by_c.values.shape == source_hw
