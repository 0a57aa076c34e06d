"""Counting class maps."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.postprocess.class_pixels import count_class_pixels


@pytest.mark.parametrize("shape", [(1, 1), (48, 64), (1080, 1920), (3, 1)])
def test_pixels_of_each_class(shape: tuple[int, int]) -> None:
    """As numpy counts them; classes that are not there have 0, ids beyond the classes are not counted."""
    class_ids = np.random.default_rng(0).integers(0, 7, shape, np.uint8)
    counts = count_class_pixels(class_ids, 5)
    assert counts.dtype == np.int64
    assert counts.tolist() == np.bincount(class_ids.ravel(), minlength=7)[:5].tolist()
    assert count_class_pixels(np.zeros(shape, np.uint8), 3).tolist() == [shape[0] * shape[1], 0, 0]
