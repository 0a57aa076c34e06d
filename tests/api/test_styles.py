"""Results in the forms of supervision and Ultralytics."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import pytest

from rkdeploy.errors import RkdeployError
from tests.api.found import EMPTY, FRAME, MASKS, POINTS, ROTATED, STACKED, XYXY, result


@pytest.fixture(scope="module")
def sv() -> Any:
    """Supervision, imported by the first test: at the top every worker would import it, and Matplotlib with it."""
    return importlib.import_module("supervision")


def test_nothing_found(sv: Any) -> None:
    """Empty in both forms."""
    assert len(EMPTY.to_supervision()) == 0
    assert len(sv.Detections.from_ultralytics(EMPTY.to_ultralytics())) == 0


def test_supervision(sv: Any) -> None:
    """Boxes, masks, oriented boxes and names where its annotators look for them."""
    found = result(masks=MASKS, rotated=ROTATED).to_supervision()
    np.testing.assert_array_equal(found.xyxy, XYXY)
    assert found.class_id is not None
    assert found.class_id.tolist() == [1, 2]
    assert list(found.data["class_name"]) == ["bolt", "nut"]
    np.testing.assert_array_equal(np.asarray(found.mask), STACKED)
    scene = sv.BoxAnnotator().annotate(FRAME.copy(), result().to_supervision())
    assert (scene != FRAME).any()
    assert (sv.OrientedBoxAnnotator().annotate(FRAME.copy(), found) != FRAME).any()
    assert sv.PolygonZone(np.array([[0, 0], [9, 0], [9, 9], [0, 9]])).trigger(result().to_supervision()).tolist() == [
        False,
        True,
    ]
    points = result(keypoints=POINTS).to_supervision_keypoints()
    np.testing.assert_array_equal(points.xy, POINTS[..., :2])
    with pytest.raises(RkdeployError, match="no keypoints"):
        result().to_supervision_keypoints()


def test_without_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that says what to install."""
    monkeypatch.setitem(sys.modules, "supervision.config", None)
    with pytest.raises(RkdeployError, match="pip install supervision"):
        result().to_supervision()


def test_ultralytics_attributes(sv: Any) -> None:
    """The attributes that programs read from Ultralytics' results, tensors' methods included."""
    seen = result(keypoints=POINTS, masks=MASKS).to_ultralytics()
    assert seen.boxes is not None
    assert seen.names == {0: "nut", 1: "bolt", 2: "nut"}
    assert (seen.orig_shape, seen.path, len(seen)) == ((40, 60), "a.jpg", 2)
    np.testing.assert_array_equal(seen.boxes.xyxy.cpu().numpy(), XYXY)
    np.testing.assert_array_equal(seen.boxes.cls.cpu().numpy().astype(int), [1, 2])
    np.testing.assert_array_equal(seen.boxes.xywh[0], [20, 15, 20, 20])
    np.testing.assert_allclose(seen.boxes.xywhn[0], [20 / 60, 15 / 40, 20 / 60, 20 / 40], rtol=1e-6)
    np.testing.assert_allclose(seen.boxes.xyxyn[1], [0, 0, 8 / 60, 4 / 40], rtol=1e-6)
    rows = [(box.xyxy[0].tolist(), int(box.cls[0]), round(float(box.conf[0]), 3)) for box in seen.boxes]
    assert rows == [([10, 5, 30, 25], 1, 0.9), ([0, 0, 8, 4], 2, 0.5)]
    assert seen.boxes[seen.boxes.conf > 0.6].shape == (1, 6)
    assert seen.keypoints is not None
    assert seen.keypoints.data.shape == (2, 2, 3)
    np.testing.assert_allclose(seen.keypoints.xyn[0, 0], [12 / 60, 6 / 40], rtol=1e-6)
    assert seen.masks is not None
    np.testing.assert_array_equal(seen.masks.xy[0].min(axis=0), [10, 5])
    np.testing.assert_array_equal(seen.masks.xy[0].max(axis=0), [29, 24])
    taken = sv.Detections.from_ultralytics(seen)
    np.testing.assert_array_equal(taken.xyxy, XYXY)
    assert taken.mask is not None
    np.testing.assert_array_equal(np.asarray(taken.mask), STACKED)
    kept = sv.KeyPoints.from_ultralytics(seen)
    np.testing.assert_array_equal(kept.xy, POINTS[..., :2])
    turned = result(rotated=ROTATED).to_ultralytics()
    assert turned.boxes is None
    assert turned.obb is not None
    oriented = sv.Detections.from_ultralytics(turned)
    np.testing.assert_allclose(np.asarray(oriented.xyxy, np.float32), [[10, 10, 30, 20], [15, 5, 25, 25]], atol=1e-4)
