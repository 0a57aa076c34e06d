"""Assignments against scipy's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from rkdeploy.device.tracking.assignment import best_pairs


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_of_gains_is_the_largest(seed: int) -> None:
    """Sparse and dense, wide and high: the sum is that of an assignment in which gains below 0 count as 0."""
    random = np.random.default_rng(seed)
    shape = random.integers(1, 25, 2)
    gains = random.uniform(-1, 1, shape) + random.choice((-0.9, -0.5, 0.0))
    rows, columns = best_pairs(gains)
    assert (gains[rows, columns] > 0).all()
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    clipped = np.maximum(gains, 0)
    expected = clipped[linear_sum_assignment(clipped, maximize=True)].sum()
    assert gains[rows, columns].sum() == pytest.approx(expected, abs=1e-12)


def test_the_better_sum_beats_the_better_pair() -> None:
    """Row 0 leaves its best column to row 1, which has no other."""
    rows, columns = best_pairs(np.array([[0.9, 0.7], [0.8, -0.1]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_without_gains_there_are_no_pairs(shape: tuple[int, int]) -> None:
    """Empty sides, and gains of 0."""
    rows, columns = best_pairs(np.zeros(shape))
    assert len(rows) == len(columns) == 0
