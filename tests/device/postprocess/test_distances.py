from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.distances import (
    distances_of_logits,
    distances_of_weights,
    empty_weights,
    has_table,
    look_up,
)
from rkdeploy.device.postprocess.raw_values import dequantize
from rkdeploy.device.runtime.protocol import HeadTensor


@pytest.mark.parametrize("reg_max", [2, 7, 16, 32])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("int8", 0.1, -128), ("int8", 0.62, 127), ("uint8", 0.62, 0), ("uint8", 9.0, 3), ("int16", 0.01, 5),
     ("float32", 1.0, 0)],
)  # fmt: skip
def test_equals_softmax(reg_max: int, dtype: str, scale: float, zero_point: int) -> None:
    """The distances are the expectations of the softmax of the dequantized bins, with the table and without."""
    rng = np.random.default_rng(reg_max)
    if dtype == "float32":
        raw = rng.normal(0, 40, (70, 4 * reg_max)).astype(np.float32)
    else:
        info = np.iinfo(dtype)
        raw = rng.integers(info.min, info.max + 1, (70, 4 * reg_max)).astype(dtype)
    raw[0], raw[1] = raw.min(), raw.max()
    tensor = HeadTensor(raw, scale, zero_point)
    assert has_table(tensor) == (raw.itemsize == 1 and scale < 1)
    if has_table(tensor):
        weights = empty_weights(70, 4 * reg_max)
        look_up(tensor, raw[:9], weights[:9])
        look_up(tensor, raw[9:], weights[9:70])
        found = distances_of_weights(weights, 70)
    else:
        logits = np.empty((4 * reg_max, 70), np.float32)
        dequantize(tensor, raw.T, logits)
        found = distances_of_logits(logits)
    bins = ((raw.astype(np.float64) - zero_point) * scale).reshape(70, 4, reg_max)
    shares = np.exp(bins - bins.max(axis=2, keepdims=True))
    expected = (shares * np.arange(reg_max)).sum(axis=2) / shares.sum(axis=2)
    np.testing.assert_allclose(found, expected.T, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("reg_max", [4, 7, 16])
def test_each_cell_alone(reg_max: int) -> None:
    """A cell's distances are the same to the bit whatever other cells are asked for."""
    rng = np.random.default_rng(0)
    weights = empty_weights(300, 4 * reg_max)
    weights[:300] = np.exp(rng.normal(0, 3, (300, 4 * reg_max)))
    expected = distances_of_weights(weights, 300)
    for count in (1, 2, 63, 64, 65, 299):
        chosen = rng.permutation(300)[:count]
        some = empty_weights(count, 4 * reg_max)
        some[:count] = weights[chosen]
        np.testing.assert_array_equal(distances_of_weights(some, count), expected[:, chosen])
    assert distances_of_weights(empty_weights(0, 4 * reg_max), 0).shape == (4, 0)
