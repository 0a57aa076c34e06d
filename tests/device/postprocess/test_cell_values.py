from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.cell_values import read_cells, read_rows
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.device.postprocess.tensor_layouts import in_every_layout


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize("channels", [1, 5, 16, 17, 64])
def test_reading(channels: int, dtype: str) -> None:
    """In every layout the same values are read, the padding never; as rows they are contiguous and of their dtype."""
    rng = np.random.default_rng(channels)
    grid = (5, 7)
    tensor = HeadTensor(rng.integers(0, 99, (1, channels, *grid)).astype(dtype))
    cells = rng.permutation(grid[0] * grid[1])[:9]
    expected = tensor.values[0].reshape(channels, -1)
    for name, (same,) in ({"nchw": [tensor]} | in_every_layout([tensor])).items():
        for chosen in (cells, cells[:1], cells[:0]):
            np.testing.assert_array_equal(read_cells(same, chosen), expected[:, chosen], err_msg=name)
        for chosen in (cells, cells[:1]):
            rows = read_rows(same, chosen)
            np.testing.assert_array_equal(rows, expected[:, chosen].T, err_msg=name)
            assert rows.flags.c_contiguous
            assert rows.dtype == np.dtype(dtype)
