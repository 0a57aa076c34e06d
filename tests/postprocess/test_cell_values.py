from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_layouts import in_every_layout

from rkdeploy.postprocess.cell_values import at_least, cells_at_least, read_cells
from rkdeploy.runtime.protocol import HeadTensor


@pytest.mark.parametrize("limit", [-np.inf, -65504.0, -1.5, -6e-8, -0.0, 0.0, 6e-8, 0.3, 2.0, 65504.0, np.inf])
def test_float16_by_its_bits(limit: float) -> None:
    """Every number of float16 compares as numpy compares it; NaN may pass or not."""
    values = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    numbers = ~np.isnan(values)
    marks = at_least(values, np.float16(limit))
    np.testing.assert_array_equal(marks[numbers], (values >= np.float16(limit))[numbers])
    out = np.empty(values.shape, np.bool_)
    at_least(values, np.float16(limit), out)
    np.testing.assert_array_equal(out, marks)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
def test_other_dtypes(dtype: str) -> None:
    """Values at the limit are at least the limit."""
    values = np.array([[3, 4], [5, 4]], dtype)
    np.testing.assert_array_equal(at_least(values, np.dtype(dtype).type(4)), [[False, True], [True, True]])


@settings(deadline=None, max_examples=150)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 32, 80]),
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    share=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    dtype=st.sampled_from(["int8", "uint8", "int16", "float16", "float32"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_and_reading(channels: int, grid: tuple[int, int], share: float, dtype: str, seed: int) -> None:
    """In every layout the same cells are found, each once, and the same values read, the padding never."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((1, channels, *grid)) < share, 50, rng.integers(0, 49, (1, channels, *grid)))
    tensor = HeadTensor(values.astype(dtype))
    expected = np.flatnonzero((values[0] >= 50).any(axis=0))
    cells = rng.permutation(grid[0] * grid[1])[: int(rng.integers(1, 9))]
    for name, (same,) in ({"nchw": [tensor]} | in_every_layout([tensor])).items():
        limit: Any = np.dtype(dtype).type(50)
        np.testing.assert_array_equal(cells_at_least(same, limit), expected, err_msg=name)
        for chosen in (cells, cells[:0]):
            read = read_cells(same, chosen)
            np.testing.assert_array_equal(read, values[0].reshape(channels, -1)[:, chosen], err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nan_beside_a_number(dtype: str) -> None:
    """A cell is found by its other channels also where one is NaN, whatever the layout."""
    values = np.full((1, 4, 2, 3), -1.0, dtype)
    values[0, 1, 1, 2] = np.nan
    values[0, 2, 1, 2] = 3.0
    tensor = HeadTensor(values)
    for name, (same,) in ({"nchw": [tensor]} | in_every_layout([tensor])).items():
        assert 5 in cells_at_least(same, np.dtype(dtype).type(2)), name
