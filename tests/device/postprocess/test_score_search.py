from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.device.postprocess import score_search
from rkdeploy.device.postprocess.score_search import Limit, best_of_rows, scores_at_least
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.device.postprocess.tensor_layouts import in_every_layout

DTYPES = ["int8", "uint8", "int16", "float16", "float32"]


def passes(limit: Limit, values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(limit.passes(values.view(limit.view), limit.bound))


@pytest.mark.parametrize("limit", [-np.inf, -65504.0, -1.5, -6e-8, -0.0, 0.0, 6e-8, 0.3, 2.0, 65504.0, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_by_their_bits(dtype: str, limit: float) -> None:
    """Every number of float16, and as many of float32, compare as numpy compares them, and so does the better of two;
    NaN may pass or not."""
    values = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    if dtype == "float32":
        values = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32)
    values = values[~np.isnan(values)]
    found = Limit.of(np.dtype(dtype).type(limit))
    np.testing.assert_array_equal(passes(found, values), values >= np.dtype(dtype).type(limit))
    others = np.random.default_rng(0).permutation(values)
    best = found.best(values.view(found.view), others.view(found.view)).view(values.dtype)
    np.testing.assert_array_equal(passes(found, best), passes(found, values) | passes(found, others))


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes(dtype: str) -> None:
    """Values at the limit are at least the limit."""
    values = np.array([[3, 4], [5, 4]], dtype)
    np.testing.assert_array_equal(passes(Limit.of(np.dtype(dtype).type(4)), values), [[False, True], [True, True]])


@settings(deadline=None, max_examples=150)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 32, 80]),
    grids=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3),
    share=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    dtype=st.sampled_from(DTYPES),
    laid_from=st.sampled_from([0, 64, 1 << 18]),
    seed=st.integers(0, 2**32 - 1),
)
def test_search(
    channels: int, grids: list[tuple[int, int]], share: float, dtype: str, laid_from: int, seed: int
) -> None:
    """In every layout and of every level the same scores are found, each once, ascending by cell, then class; none in
    the padding, none of a level without limit."""
    rng = np.random.default_rng(seed)
    tensors, expected = [], []
    for grid in grids:
        values = np.where(rng.random((1, channels, *grid)) < share, 50, rng.integers(0, 49, (1, channels, *grid)))
        tensors.append(HeadTensor(values.astype(dtype)))
        expected.append(np.flatnonzero(values[0].reshape(channels, -1).T >= 50))
    limits: list[Limit | None] = [Limit.of(np.dtype(dtype).type(50))] * len(grids)
    closed = int(rng.integers(len(grids) + 1))
    if closed < len(grids):
        limits[closed], expected[closed] = None, expected[closed][:0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_search, "_LAID_FROM", laid_from)
        for name, same in ({"nchw": tensors} | in_every_layout(tensors)).items():
            found = scores_at_least(same, limits)
            for hits, places in zip(found, expected, strict=True):
                np.testing.assert_array_equal(hits.places, places, err_msg=name)
                np.testing.assert_array_equal(hits.raw, np.full(len(places), 50, dtype), err_msg=name)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("limit", [2.0, -2.0])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_nan_beside_a_number(monkeypatch: pytest.MonkeyPatch, dtype: str, limit: float, sign: float) -> None:
    """A score is found also where its neighbors in memory are NaN, of either sign, whatever the layout."""
    monkeypatch.setattr(score_search, "_LAID_FROM", 0)
    values = np.full((1, 4, 2, 3), -4.0, dtype)
    values[0, 1] = np.copysign(np.nan, sign)
    values[0, 2, 1, 2] = 3.0
    tensor = HeadTensor(values)
    for name, (same,) in ({"nchw": [tensor]} | in_every_layout([tensor])).items():
        (hits,) = scores_at_least([same], [Limit.of(np.dtype(dtype).type(limit))])
        numbers = ~np.isnan(hits.raw)
        assert hits.places[numbers].tolist() == [5 * 4 + 2], name


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 9), max_size=30), seed=st.integers(0, 99))
def test_best_of_rows(rows: list[int], seed: int) -> None:
    """Of each row the greatest value is chosen, the first of several equal ones."""
    ascending = np.array(sorted(rows), np.intp)
    values = np.random.default_rng(seed).integers(0, 4, len(rows)).astype(np.float32)
    found = best_of_rows(ascending, values)
    expected = [
        int(places[values[places].argmax()]) for places in (np.flatnonzero(ascending == row) for row in sorted({*rows}))
    ]
    assert (list(range(len(rows))) if found is None else found.tolist()) == expected
