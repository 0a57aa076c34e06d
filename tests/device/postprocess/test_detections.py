from __future__ import annotations

from rkdeploy.device.postprocess.detections import Detections


def test_empty() -> None:
    """No detections are arrays of the usual dtypes with no rows."""
    nothing = Detections.empty()
    assert len(nothing) == 0
    assert (nothing.xyxy.shape, nothing.xyxy.dtype.name) == ((0, 4), "float32")
    assert (nothing.scores.shape, nothing.scores.dtype.name) == ((0,), "float32")
    assert (nothing.class_ids.shape, nothing.class_ids.dtype.name) == ((0,), "int32")
