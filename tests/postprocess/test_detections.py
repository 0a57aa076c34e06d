from __future__ import annotations

import numpy as np

from rkdeploy.postprocess.detections import Detections


def test_empty() -> None:
    """No detections are arrays of the usual dtypes with no rows."""
    nothing = Detections.empty()
    assert len(nothing) == 0
    assert (nothing.xyxy.shape, nothing.xyxy.dtype) == ((0, 4), np.float32)
    assert (nothing.scores.shape, nothing.scores.dtype) == ((0,), np.float32)
    assert (nothing.class_ids.shape, nothing.class_ids.dtype) == ((0,), np.int32)
