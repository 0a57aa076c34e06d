"""Pairs of boxes that can overlap, by hand."""

from __future__ import annotations

import numpy as np

from rkdeploy.device.postprocess.sweep_and_prune import class_offsets, pairs_in_runs


def test_pairs_by_hand() -> None:
    """Runs of 2, 0, 1 and 0 boxes: box 0 meets 1 and 2, box 2 meets 3."""
    first, second = pairs_in_runs(np.array([2, 0, 1, 0]))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (0, 2), (2, 3)]


def test_pairs_of_a_part() -> None:
    """Parts of the boxes give the pairs of the whole, part after part."""
    runs = np.array([3, 1, 0, 2, 1, 0])
    whole = pairs_in_runs(runs)
    parts = [pairs_in_runs(runs[:2]), pairs_in_runs(runs[2:5], 2), pairs_in_runs(runs[5:], 5)]
    for place in (0, 1):
        assert np.concatenate([part[place] for part in parts]).tolist() == whole[place].tolist()


def test_no_pairs() -> None:
    """No boxes, and boxes that overlap no other."""
    for runs in (np.zeros(0, np.intp), np.zeros(3, np.intp)):
        first, second = pairs_in_runs(runs)
        assert first.size == second.size == 0


def test_class_offsets() -> None:
    """7680 px per class, float32."""
    offsets = class_offsets(np.array([0, 2], np.int32))
    assert offsets.tolist() == [0, 15360]
    assert offsets.dtype == np.float32
