"""Classes of source pixels, by numpy and by the C code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.device.postprocess.best_classes import best_classes
from rkdeploy.device.postprocess.resampling import Axis
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.device.postprocess.both_ways import ODD_LAYOUTS, both_ways
from tests.device.postprocess.tensor_layouts import in_every_layout


def axis(pixels: int, size: int) -> Axis:
    """Pixels spread over a plane from edge to edge."""
    place = np.clip((np.arange(pixels) + 0.5) * size / pixels - 0.5, 0, size - 1)
    low = np.minimum(place.astype(np.intp), max(size - 2, 0))
    return Axis(low, (place - low).astype(np.float32))


def whole(tensor: HeadTensor, source_hw: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The classes of all source pixels, by numpy and by C."""
    rows, columns = axis(source_hw[0], tensor.shape[2]), axis(source_hw[1], tensor.shape[3])
    part, rows, columns = (rows.span, columns.span), rows.within(rows.span), columns.within(columns.span)
    return both_ways(lambda: best_classes(tensor, part, rows, columns))


def test_a_third_class_wins_between_two() -> None:
    """Corners 10, 0, 9 and 0, 10, 9: in the middle 5, 5 and 9, though it is the best at no corner."""
    planes = np.array([[10, 0], [0, 10], [9, 9]], np.int8).reshape(1, 3, 1, 2)
    for found in whole(HeadTensor(planes), (1, 8)):
        assert found.tolist() == [[0, 0, 2, 2, 2, 2, 1, 1]]


def test_equal_scores_go_to_the_lowest_class() -> None:
    """Everywhere the same, and where two differ in sign about the middle."""
    for found in whole(HeadTensor(np.full((1, 4, 3, 3), 7, np.int8)), (9, 9)):
        assert not found.any()
    planes = np.array([[1, 0], [0, 1]], np.int8).reshape(1, 2, 1, 2)
    for found in whole(HeadTensor(planes), (1, 3)):
        assert found.tolist() == [[0, 0, 1]]  # the middle pixel is a tie


@settings(deadline=None, max_examples=60)
@given(
    classes=st.sampled_from([2, 3, 19, 256]),
    plane_hw=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    source_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(["int8", "uint8", "int16", "float16", "float32"]),
    spread=st.sampled_from([1, 3, 100]),
    seed=st.integers(0, 2**32 - 1),
)
def test_c_finds_what_numpy_finds(
    classes: int, plane_hw: tuple[int, int], source_hw: tuple[int, int], dtype: str, spread: int, seed: int
) -> None:
    """To the pixel, with many ties, in every layout and type; and both what interpolating all planes gives."""
    values = np.random.default_rng(seed).integers(0, spread + 1, (1, classes, *plane_hw)).astype(dtype)
    tensor = HeadTensor(values)
    rows, columns = axis(source_hw[0], plane_hw[0]), axis(source_hw[1], plane_hw[1])
    weights = []
    for one, size in ((rows, plane_hw[0]), (columns, plane_hw[1])):
        weight = np.zeros((len(one.low), size))
        np.add.at(weight, (np.arange(len(one.low)), one.low), 1.0 - one.fraction)
        np.add.at(weight, (np.arange(len(one.low)), np.minimum(one.low + 1, size - 1)), one.fraction.astype(np.float64))
        weights.append(weight)
    scores = weights[0] @ values[0].astype(np.float64) @ weights[1].T
    ranked = np.sort(scores, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-4
    first, second = whole(tensor, source_hw)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[clear], scores.argmax(axis=0)[clear])
    layouts = [*in_every_layout([tensor]).values(), *([make(tensor)] for make in ODD_LAYOUTS.values())]
    for (other,) in layouts:
        for found in whole(other, source_hw):
            np.testing.assert_array_equal(found, first)


@pytest.mark.parametrize("part", [(slice(1, 3), slice(0, 4)), (slice(0, 5), slice(2, 6))])
def test_a_part_of_the_planes(part: tuple[slice, slice]) -> None:
    """Values outside of the part do not matter."""
    values = np.random.default_rng(3).integers(-9, 9, (1, 5, 5, 6)).astype(np.int8)
    cut = HeadTensor(np.ascontiguousarray(values[:, :, part[0], part[1]]))
    rows, columns = axis(11, cut.shape[2]), axis(13, cut.shape[3])
    for found in both_ways(lambda: best_classes(HeadTensor(values), part, rows, columns)):
        np.testing.assert_array_equal(found, whole(cut, (11, 13))[0])
